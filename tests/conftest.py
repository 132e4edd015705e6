# SPDX-License-Identifier: Apache-2.0
"""Shared by all tests."""

import signal
from pathlib import Path

import pytest

# A script started in the background ignores Ctrl-C, and so would every test and child of it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_ON_REQUEST = ("benchmarks",)
"""Folders that run only when they are named: speed is measured on a machine that does nothing else."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what nobody asked for by name."""
    name = collection_path.name
    if name in _ON_REQUEST and not any(name in argument for argument in config.args):
        return True
    return None

# SPDX-License-Identifier: Apache-2.0
"""A folder made from a description of registers, and what its registers.py declares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from click.testing import CliRunner

from vfio_ims.cli.main import cli

__all__ = ["loaded", "new"]


def new(where: Path, *more: str) -> str:
    """``vfio-ims new acme-card`` in ``where``; what it prints. Its errors are raised."""
    done = CliRunner().invoke(cli, ["new", "acme-card", "--in", str(where), *more], standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return done.output


def loaded(file: Path) -> dict[str, Any]:
    """What the module ``file`` defines."""
    names: dict[str, Any] = {}
    exec(compile(file.read_text(), str(file), "exec"), names)
    return names

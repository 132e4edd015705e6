# SPDX-License-Identifier: Apache-2.0
"""Runs of pytest inside tests."""

from __future__ import annotations

from importlib import import_module

import pytest


@pytest.fixture
def inner(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A directory for a run of pytest in this process, with the plug-in loaded and nothing in the environment."""
    monkeypatch.delenv("VFIO_IMS_DEVICE", raising=False)
    # Only our plug-in: an inner run imports anew what the outer one has not imported yet.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p vfio_ims.testing.plugin")
    import vfio_ims
    from vfio_ims import families

    vfio_ims.open_driver("mock:minimal").close()
    monkeypatch.setattr(families.private, "_private", [])  # what the inner run loads goes with it
    return pytester


@pytest.fixture
def short_timeout(inner: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """The conformance suite gives up an interrupt after a second.

    The module is looked up by name in ``sys.modules``, as the inner run does: an attribute of the package may be left
    from the module of an earlier inner run.
    """
    monkeypatch.setattr(import_module("vfio_ims.testing.contract"), "TIMEOUT", 1.0)

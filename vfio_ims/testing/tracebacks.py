# SPDX-License-Identifier: Apache-2.0
"""Tracebacks of errors whose text says all: without the package's own lines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vfio_ims.errors import AccessDenied, DeviceBusy, RemovedError, SetupError

if TYPE_CHECKING:
    import pytest

__all__ = ["UNUSABLE", "shorten"]

UNUSABLE = (SetupError, AccessDenied, RemovedError, DeviceBusy)
"""Errors about the machine, not about the driver or the test."""

_PACKAGE = Path(__file__).resolve().parents[1]


def shorten(found: pytest.ExceptionInfo[BaseException]) -> None:
    """Leave the test's own lines of an ``UNUSABLE`` error, and those of a driver; ``--full-trace`` shows all."""
    if not isinstance(found.value, UNUSABLE):
        return
    for line in found.traceback:
        if _ours(Path(str(line.path))):  # pytest looks for this name among a frame's globals, too
            line.frame.f_globals["__tracebackhide__"] = _hides
    found.value.__cause__, found.value.__suppress_context__ = None, True


def _hides(found: pytest.ExceptionInfo[BaseException]) -> bool:
    return isinstance(found.value, UNUSABLE)


def _ours(path: Path) -> bool:
    return path.is_relative_to(_PACKAGE) and not path.is_relative_to(_PACKAGE / "drivers")

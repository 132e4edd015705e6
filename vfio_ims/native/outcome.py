# SPDX-License-Identifier: Apache-2.0
"""What a refused access of a window becomes: the error that says who has to change what."""

from __future__ import annotations

from vfio_ims.errors import ClosedError, DeviceError, UnsupportedError, UsageError, VfioImsError
from vfio_ims.native.lib import native

__all__ = ["refusal"]


def refusal(status: int, operation: str, name: str, *, width: int = 1, size: int = 0) -> VfioImsError:
    """The error for an ``access_status`` (status.h). ``size`` is the window's."""
    lib = native().lib
    if status == lib.ACCESS_BOUNDS:
        why = f"the range must lie within {size:#x} bytes"
        return UsageError(operation, device=name, why=why)
    if status == lib.ACCESS_MISALIGNED:
        return UsageError(operation, device=name, why=f"the offset must be a multiple of {width}")
    if status == lib.ACCESS_GUARDED:
        why = "the range meets the MSI-X table, which only the kernel may write"
        return UsageError(operation, device=name, why=why, hint="attach vectors with set_irqs")
    if status == lib.ACCESS_TRAPPED:
        return UsageError(operation, device=name, why="no mapping allows it, and nothing else answers for this range")
    if status == lib.ACCESS_FORKED:
        why = "it belongs to the parent of this forked process"
        return ClosedError(operation, device=name, why=why, hint="open the device here, or start processes by spawn")
    if status == lib.ACCESS_CLOSED:
        return ClosedError(operation, device=name, why="it was closed")
    if status == lib.ACCESS_GONE:
        why = "the access raised SIGBUS: memory decoding is off, or the device is gone"
        return DeviceError(operation, device=name, why=why, hint="set bit 1 of the command register, or reopen it")
    if status == lib.ACCESS_UNSUPPORTED:
        why = "this CPU cannot store 64 bytes as one write (MOVDIR64B on x86, ST64B on arm64)"
        return UnsupportedError(operation, device=name, why=why, hint="pieces=True stores 8 times 8 bytes: models only")
    return UsageError(operation, device=name, why="the arguments contradict each other")

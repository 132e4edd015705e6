# SPDX-License-Identifier: Apache-2.0
"""Where a reading verb looks: at a function of this machine, or into a report of another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vfio_ims.host import Machine
    from vfio_ims.sysfs import Function

__all__ = ["place"]


@contextmanager
def place(device: str | None, operation: str = "look at it") -> Iterator[tuple[Machine, Function | None]]:
    """The machine, and the function called ``device``: an address, a kernel name, ``report:FILE``; None for None."""
    from vfio_ims.host import Machine
    from vfio_ims.host.selection import not_here

    machine = Machine()
    if device is None:
        yield machine, None
        return
    if device.startswith("report:"):
        from vfio_ims.host.report import opened

        with opened(device.removeprefix("report:")) as (reported, function):
            yield reported, function
        return
    known = machine.function(device.partition(",")[0])
    if known is None:
        raise not_here(device, operation)
    yield machine, known

# SPDX-License-Identifier: Apache-2.0
"""Where a reading verb looks: at a function of this machine, or into a report of another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from vfio_ims.errors import SetupError

if TYPE_CHECKING:
    from vfio_ims.host import Machine
    from vfio_ims.sysfs import Function

__all__ = ["place"]


@contextmanager
def place(device: str | None) -> Iterator[tuple[Machine, Function | None]]:
    """The machine, and the function called ``device``: an address, a kernel name, ``report:FILE``; None for None."""
    from vfio_ims.host import Machine

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
        why = "there is no such PCI function on this machine"
        raise SetupError("look at it", device=device, why=why, hint="vfio-ims list --all shows what there is")
    yield machine, known

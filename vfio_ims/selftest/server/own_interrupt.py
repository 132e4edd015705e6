# SPDX-License-Identifier: Apache-2.0
"""The interrupt that the device raises by itself: once, behind its mask, as a level."""

from __future__ import annotations

from vfio_ims.counted import counted
from vfio_ims.ports.values import IrqFlags, IrqIndex, IrqSet, RegionIndex
from vfio_ims.selftest.server.asked import Asked, Fire, NotApplicable, Wrong

__all__ = ["intx_level", "mask_and_pending", "own_interrupt"]


def own_interrupt(asked: Asked) -> str:
    fire = _named(asked)
    with asked.attached(fire.index, fire.vector + 1) as fds:
        _raise(asked, fire)
        events = asked.events(fds[fire.vector], wait=True)
        if events != 1:
            raise Wrong(f"the device's own interrupt came {counted(events, 'time')}")
    return f"{IrqIndex(fire.index).name} vector {fire.vector} once"


def mask_and_pending(asked: Asked) -> str:
    fire = _named(asked)
    if not asked.link.irq_info(fire.index).flags & IrqFlags.MASKABLE:
        raise NotApplicable(f"its {IrqIndex(fire.index).name} is not maskable")
    with asked.attached(fire.index, fire.vector + 1) as fds:
        asked.link.set_irqs(fire.index, IrqSet.DATA_NONE | IrqSet.ACTION_MASK, fire.vector, 1)
        _raise(asked, fire)
        if asked.events(fds[fire.vector], wait=False):
            raise Wrong("it was signalled though it was masked")
        asked.link.set_irqs(fire.index, IrqSet.DATA_NONE | IrqSet.ACTION_UNMASK, fire.vector, 1)
        if not asked.events(fds[fire.vector], wait=True):
            raise Wrong("what pended behind the mask did not come with the unmask")
    return "withheld while masked, and there with the unmask"


def intx_level(asked: Asked) -> str:
    fire = _named(asked)
    if fire.index != IrqIndex.INTX or not asked.link.irq_info(fire.index).flags & IrqFlags.AUTOMASKED:
        raise NotApplicable("it raises no INTx that masks itself")
    with asked.attached(fire.index, 1) as (fd,):
        _raise(asked, fire)
        _raise(asked, fire)
        if (events := asked.events(fd, wait=True)) != 1:
            raise Wrong(f"a level that masks itself came {counted(events, 'time')} before its unmask, not once")
        asserted = bool(asked.link.read(RegionIndex.CONFIG, 0x06, 2)[0] & 0x08)
        asked.link.set_irqs(fire.index, IrqSet.DATA_NONE | IrqSet.ACTION_UNMASK, 0, 1)
        again = bool(asked.events(fd, wait=asserted))
        if asserted and not again:
            raise Wrong("the line is still asserted, and its interrupt did not come again with the unmask")
    return f"once until its unmask, {'again' if again else 'not again'} after it: its status says {asserted:d}"


def _named(asked: Asked) -> Fire:
    if asked.fire is None:
        raise NotApplicable("no write was named that makes the device raise its interrupt (--fire)")
    return asked.fire


def _raise(asked: Asked, fire: Fire) -> None:
    asked.link.write(RegionIndex.CONFIG, 4, b"\x06\x00")
    asked.link.write(fire.region, fire.offset, fire.value.to_bytes(fire.width, "little"))

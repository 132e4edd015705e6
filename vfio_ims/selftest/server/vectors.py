# SPDX-License-Identifier: Apache-2.0
"""Interrupts that the client triggers: each vector, eventfds replaced and disabled, vectors outside, a reset."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from vfio_ims.counted import by_count, counted
from vfio_ims.errors import DeviceError, RemovedError
from vfio_ims.ports.values import DeviceFlags, IrqIndex, IrqSet
from vfio_ims.selftest.server.asked import TRIGGER, Asked, NotApplicable, Wrong

__all__ = ["eventfds_replaced", "reset_keeps_eventfds", "triggers", "vectors_outside"]


def triggers(asked: Asked) -> str:
    if not asked.kinds:
        raise NotApplicable("the device has no interrupts")
    said = []
    for index in asked.kinds:
        count = asked.link.irq_info(index).count
        with asked.attached(index, count) as fds:
            asked.link.set_irqs(index, TRIGGER, 0, count)
            got = [asked.events(fd, wait=True) for fd in fds]
            if wrong := [vector for vector, events in enumerate(got) if events != 1]:
                raise Wrong(f"{IrqIndex(index).name}: vector {wrong[0]} had {counted(got[wrong[0]], 'event')}, not 1")
            asked.link.set_irqs(index, IrqSet.DATA_BOOL | IrqSet.ACTION_TRIGGER, 0, count, [0] * (count - 1) + [1])
            if asked.events(fds[-1], wait=True) != 1 or (count > 1 and asked.events(fds[0], wait=False)):
                raise Wrong(f"{IrqIndex(index).name}: a trigger by flags went to another vector")
        said.append(f"{IrqIndex(index).name} {count}")
    return f"each vector once: {', '.join(said)}"


def eventfds_replaced(asked: Asked) -> str:
    for index in asked.kinds:
        with asked.attached(index, 1) as (old,), asked.attached(index, 1) as (new,):
            asked.link.set_irqs(index, TRIGGER, 0, 1)
            if asked.events(new, wait=True) != 1:
                raise Wrong(f"{IrqIndex(index).name}: an eventfd in place of another got no event")
            if asked.events(old, wait=False):
                raise Wrong(f"{IrqIndex(index).name}: the eventfd that was replaced got one, too")
            asked.link.set_irqs(index, TRIGGER, 0, 0)
            with suppress(RemovedError, DeviceError):  # nothing is enabled: refusing is as good as doing nothing
                asked.link.set_irqs(index, TRIGGER, 0, 1)
            if asked.events(new, wait=False):
                raise Wrong(f"{IrqIndex(index).name}: after it was disabled an eventfd was signalled")
    if not asked.kinds:
        raise NotApplicable("the device has no interrupts")
    return "a new eventfd takes the place of the old one; a disabled one is silent"


def vectors_outside(asked: Asked) -> str:
    for index in range(asked.info.irqs):
        count = asked.link.irq_info(index).count
        trigger = partial(asked.link.set_irqs, index, TRIGGER, count, 1)
        asked.refused(f"a trigger of vector {count} of index {index}", trigger)
    asked.refused("an index that there is not", partial(asked.link.set_irqs, asked.info.irqs, TRIGGER, 0, 1))
    return f"refused for {asked.info.irqs} {by_count(asked.info.irqs, 'kind', 'kinds')} of interrupt"


def reset_keeps_eventfds(asked: Asked) -> str:
    if not asked.info.flags & DeviceFlags.RESET:
        raise NotApplicable("the device has no reset")
    if not asked.kinds:
        asked.link.reset()
        return "done; the device has no interrupts to be kept"
    index = asked.kinds[0]
    with asked.attached(index, 1) as (fd,):
        asked.link.reset()
        asked.link.set_irqs(index, TRIGGER, 0, 1)
        if asked.events(fd, wait=True) != 1:
            raise Wrong(f"after it {IrqIndex(index).name}'s eventfd is no longer attached: VFIO_DEVICE_RESET keeps it")
    return "done, and eventfds stay attached"

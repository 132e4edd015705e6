# SPDX-License-Identifier: Apache-2.0
"""INTx: level, self-masking, replayed on unmask."""

from __future__ import annotations

import errno
import os
import threading

import pytest

from vfio_ims.errors import UsageError, VfioImsError
from vfio_ims.platform.irqs import Irqs
from vfio_ims.platform.vectors import merging
from vfio_ims.platform.vtd import VtdRemapping
from vfio_ims.ports.values import IrqIndex, IrqSet

ATTACH = IrqSet.DATA_EVENTFD | IrqSet.ACTION_TRIGGER
NONE, BOOL, EVENTFD = IrqSet.DATA_NONE, IrqSet.DATA_BOOL, IrqSet.DATA_EVENTFD
MASK, UNMASK, TRIGGER = IrqSet.ACTION_MASK, IrqSet.ACTION_UNMASK, IrqSet.ACTION_TRIGGER


class Line:
    """A device's interrupt line, which it may hold asserted."""

    def __init__(self) -> None:
        self.asserted = False
        self.irqs = Irqs(
            "little",
            8,
            {IrqIndex.INTX: 1},
            VtdRemapping(4),
            threading.Lock(),
            merging("never"),
            level=lambda: self.asserted,
        )
        self.pulse = self.irqs.intx.deliver

    def set(self, flags: int, number: int = 1, data: tuple[int, ...] = ()) -> None:
        self.irqs.set(IrqIndex.INTX, flags, 0, number, data)


def count(fd: int) -> int:
    try:
        return os.eventfd_read(fd)
    except BlockingIOError:
        return 0


def test_it_masks_itself_until_unmasked(fds: list[int]) -> None:
    line = Line()
    line.set(ATTACH, data=(fds[0],))
    line.pulse()
    assert count(fds[0]) == 1
    line.set(NONE | UNMASK)
    assert count(fds[0]) == 0, "nothing pends: nothing is replayed"
    line.pulse()
    assert count(fds[0]) == 1


def test_unmasking_replays_a_pending_interrupt_once(fds: list[int]) -> None:
    line = Line()
    line.set(ATTACH, data=(fds[0],))
    for _ in range(3):
        line.pulse()
    assert count(fds[0]) == 1
    line.set(NONE | UNMASK)
    assert count(fds[0]) == 1
    line.set(NONE | UNMASK)
    assert count(fds[0]) == 0


def test_a_line_still_asserted_is_delivered_again_at_each_unmask(fds: list[int]) -> None:
    line = Line()
    line.set(ATTACH, data=(fds[0],))
    line.asserted = True
    line.pulse()
    for _ in range(3):
        assert count(fds[0]) == 1
        line.set(NONE | UNMASK)
    assert count(fds[0]) == 1
    line.asserted = False
    line.set(NONE | UNMASK)
    assert count(fds[0]) == 0


def test_a_line_asserted_before_enabling_is_delivered(fds: list[int]) -> None:
    line = Line()
    line.asserted = True
    line.set(ATTACH, data=(fds[0],))
    assert count(fds[0]) == 1


def test_masked_by_the_user(fds: list[int]) -> None:
    line = Line()
    line.set(ATTACH, data=(fds[0],))
    line.set(BOOL | MASK, data=(0,))
    line.pulse()
    assert count(fds[0]) == 1
    line.set(NONE | UNMASK)
    line.set(NONE | MASK)
    line.pulse()
    assert count(fds[0]) == 0
    line.set(BOOL | UNMASK, data=(0,))
    assert count(fds[0]) == 0
    line.set(BOOL | UNMASK, data=(1,))
    assert count(fds[0]) == 1


def test_the_command_registers_bit_holds_it_back(fds: list[int]) -> None:
    line = Line()
    line.set(ATTACH, data=(fds[0],))
    line.irqs.intx.disable(True)
    line.pulse()
    line.set(NONE | TRIGGER)
    line.set(NONE | UNMASK)
    assert count(fds[0]) == 0
    line.irqs.intx.disable(False)
    assert count(fds[0]) == 1


def test_software_trigger(fds: list[int]) -> None:
    line = Line()
    line.set(ATTACH, data=(fds[0],))
    line.set(NONE | TRIGGER)
    line.set(BOOL | TRIGGER, data=(1,))
    line.set(BOOL | TRIGGER, data=(0,))
    assert count(fds[0]) == 2


def test_exchanging_the_eventfd_keeps_the_state(fds: list[int]) -> None:
    line = Line()
    line.set(ATTACH, data=(fds[0],))
    line.pulse()
    line.set(ATTACH, data=(fds[1],))
    line.pulse()
    assert [count(fd) for fd in fds[:2]] == [1, 0]
    line.set(NONE | UNMASK)
    assert count(fds[1]) == 1


def test_disabled_and_enabled_again(fds: list[int]) -> None:
    line = Line()
    line.set(ATTACH, data=(fds[0],))
    line.pulse()
    line.set(NONE | TRIGGER, 0)
    line.pulse()
    assert count(fds[0]) == 1
    line.set(ATTACH, data=(fds[0],))
    line.pulse()
    assert count(fds[0]) == 1


@pytest.mark.parametrize(("flags", "code"), [(EVENTFD | MASK, errno.ENOTTY), (EVENTFD | UNMASK, errno.EOPNOTSUPP)])
def test_masking_by_eventfd_is_refused_with_what_to_do_instead(fds: list[int], flags: int, code: int) -> None:
    line = Line()
    line.set(ATTACH, data=(fds[0],))
    with pytest.raises(VfioImsError, match="DATA_NONE") as caught:
        line.set(flags, data=(fds[1],))
    assert caught.value.errno == code


@pytest.mark.parametrize("action", [MASK, UNMASK, TRIGGER])
def test_nothing_works_before_enabling(action: IrqSet) -> None:
    with pytest.raises(UsageError):
        Line().set(NONE | action)

# SPDX-License-Identifier: Apache-2.0
"""SET_IRQS: what the calls that are well formed do, kind by kind. Case names as in libvfio-user's suite."""

from __future__ import annotations

import errno
import os

import pytest

from tests.descriptors import Descriptors
from tests.platform.irqs import (
    BOOL,
    ERR,
    EVENTFD,
    INTX,
    MASK,
    MSI,
    MSIX,
    NONE,
    REQ,
    TRIGGER,
    UNMASK,
    Recorder,
    count,
    make,
    refused,
)
from vfio_ims.errors import UnsupportedError
from vfio_ims.ports.values import IrqFlags, IrqIndex


@pytest.mark.parametrize("index", [MSI, MSIX])
def test_enable_trigger_disable(index: IrqIndex, fds: list[int]) -> None:
    irqs = make()
    irqs.set(index, EVENTFD | TRIGGER, 0, 4, fds[:4])
    assert [count(fd) for fd in fds[:4]] == [0, 0, 0, 0]
    irqs.set(index, NONE | TRIGGER, 1, 2)
    assert [count(fd) for fd in fds[:4]] == [0, 1, 1, 0]
    irqs.set(index, BOOL | TRIGGER, 0, 4, [1, 0, 0, 1])
    assert [count(fd) for fd in fds[:4]] == [1, 0, 0, 1]
    irqs.set(index, NONE | TRIGGER, 0, 0)
    assert refused(irqs, index, NONE | TRIGGER, 0, 1) == errno.EINVAL


@pytest.mark.parametrize("index", [INTX, MSI, MSIX, ERR, REQ])
def test_descriptor_0_is_one_like_any_other(index: IrqIndex, fds: list[int]) -> None:
    irqs, saved = make(), os.dup(0)
    os.dup2(fds[0], 0)  # as in a service that was started without a standard input
    try:
        irqs.set(index, EVENTFD | TRIGGER, 0, 1, [0])
        irqs.set(index, NONE | TRIGGER, 0, 1)
        assert count(fds[0]) == 1
        if index == INTX:
            assert refused(irqs, INTX, EVENTFD | UNMASK, 0, 1, [0]) == errno.EOPNOTSUPP
    finally:
        os.dup2(saved, 0)
        os.close(saved)
        irqs.close()


def test_data_none_with_a_count_is_a_trigger_not_a_disable(fds: list[int]) -> None:
    irqs = make()
    irqs.set(MSIX, EVENTFD | TRIGGER, 0, 1, fds[:1])
    irqs.set(MSIX, NONE | TRIGGER, 0, 8)
    assert count(fds[0]) == 1
    assert irqs.msix.enabled


@pytest.mark.parametrize("index", [INTX, MSI, MSIX, ERR, REQ])
def test_disabling_what_is_not_enabled_is_an_error(index: IrqIndex) -> None:
    assert refused(make(), index, NONE | TRIGGER, 0, 0) == errno.EINVAL


def test_enable_update(fds: list[int]) -> None:
    irqs = make()
    irqs.set(MSIX, EVENTFD | TRIGGER, 0, 1, fds[:1])
    irqs.set(MSIX, EVENTFD | TRIGGER, 0, 1, fds[1:2])
    irqs.set(MSIX, NONE | TRIGGER, 0, 1)
    assert [count(fd) for fd in fds[:2]] == [0, 1]


def test_a_failed_call_detaches_every_vector_up_to_the_bad_one(fds: list[int]) -> None:
    irqs = make()
    irqs.set(MSIX, EVENTFD | TRIGGER, 0, 4, fds[:4])
    assert refused(irqs, MSIX, EVENTFD | TRIGGER, 0, 3, [fds[0], 99999, fds[2]]) == errno.EBADF
    assert [irqs.armed(MSIX, index) for index in range(4)] == [False, False, True, True]
    assert irqs.msix.enabled


def test_vectors_can_be_added_one_at_a_time(fds: list[int]) -> None:
    irqs = make()
    irqs.set(MSIX, EVENTFD | TRIGGER, 0, 1, fds[:1])
    first = irqs.msix.message(0)
    irqs.set(MSIX, EVENTFD | TRIGGER, 7, 1, fds[1:2])
    assert irqs.msix.message(0) == first
    assert not irqs.info(MSIX).flags & IrqFlags.NORESIZE


def test_without_dynamic_msix_the_first_call_fixes_the_size(fds: list[int]) -> None:
    irqs = make(dynamic=False)
    assert irqs.info(MSIX).flags & IrqFlags.NORESIZE
    irqs.set(MSIX, EVENTFD | TRIGGER, 0, 2, [fds[0], -1])
    assert refused(irqs, MSIX, EVENTFD | TRIGGER, 2, 1, fds[2:3]) == errno.EINVAL
    irqs.set(MSIX, EVENTFD | TRIGGER, 1, 1, fds[1:2])
    irqs.set(MSIX, NONE | TRIGGER, 0, 0)
    irqs.set(MSIX, EVENTFD | TRIGGER, 0, 8, fds)


def test_one_kind_at_a_time(fds: list[int]) -> None:
    irqs = make()
    for index, others in ((INTX, (MSI, MSIX)), (MSI, (INTX, MSIX)), (MSIX, (INTX, MSI))):
        irqs.set(index, EVENTFD | TRIGGER, 0, 1, fds[:1])
        for other in others:
            assert refused(irqs, other, EVENTFD | TRIGGER, 0, 1, fds[:1]) == errno.EINVAL
        irqs.set(index, NONE | TRIGGER, 0, 0)


def test_masking_msix_is_not_implemented(fds: list[int]) -> None:
    irqs = make()
    irqs.set(MSIX, EVENTFD | TRIGGER, 0, 1, fds[:1])
    with pytest.raises(UnsupportedError, match="INTx only"):
        irqs.set(MSIX, NONE | MASK, 0, 1)
    assert irqs.armed(MSIX, 0)


def test_the_platform_holds_its_own_reference(fds: list[int]) -> None:
    irqs = make()
    mine = os.dup(fds[0])
    irqs.set(MSIX, EVENTFD | TRIGGER, 0, 1, [mine])
    os.close(mine)
    irqs.set(MSIX, NONE | TRIGGER, 0, 1)
    assert count(fds[0]) == 1


def test_the_device_side_is_notified_of_listeners(fds: list[int]) -> None:
    recorder = Recorder()
    irqs = make(changed=recorder)
    irqs.set(MSIX, EVENTFD | TRIGGER, 2, 2, [fds[0], -1])
    irqs.set(MSIX, NONE | TRIGGER, 0, 0)
    irqs.set(REQ, EVENTFD | TRIGGER, 0, 1, fds[:1])
    assert recorder.calls == [(MSIX, 2, [True, False]), (MSIX, 0, [False] * 8), (REQ, 0, [True])]


def test_info() -> None:
    irqs = make()
    flags = {index: irqs.info(index).flags for index in IrqIndex}
    assert flags[INTX] == IrqFlags.EVENTFD | IrqFlags.MASKABLE | IrqFlags.AUTOMASKED
    assert flags[MSI] == flags[ERR] == flags[REQ] == IrqFlags.EVENTFD | IrqFlags.NORESIZE
    assert flags[MSIX] == IrqFlags.EVENTFD
    assert [irqs.info(index).count for index in IrqIndex] == [1, 4, 8, 1, 1]


def test_no_descriptor_is_left(fds: list[int]) -> None:
    before = Descriptors()
    irqs = make()
    irqs.set(MSIX, EVENTFD | TRIGGER, 0, 8, fds)
    irqs.set(REQ, EVENTFD | TRIGGER, 0, 1, fds[:1])
    irqs.set(ERR, EVENTFD | TRIGGER, 0, 1, fds[:1])
    assert before.opened() == 10
    refused(irqs, MSIX, EVENTFD | TRIGGER, 0, 2, [fds[0], 99999])
    irqs.close()
    irqs.close()
    assert not before.left()


@pytest.mark.parametrize("index", [ERR, REQ])
def test_err_and_req(index: IrqIndex, fds: list[int]) -> None:
    irqs = make()
    irqs.set(index, EVENTFD | TRIGGER, 0, 1, fds[:1])
    irqs.set(index, NONE | TRIGGER, 0, 1)
    irqs.set(index, BOOL | TRIGGER, 0, 1, [0])
    irqs.singles[index].deliver()
    assert count(fds[0]) == 2
    irqs.set(index, NONE | TRIGGER, 0, 0)
    irqs.singles[index].deliver()
    assert count(fds[0]) == 0
    irqs.set(index, EVENTFD | TRIGGER, 0, 1, fds[:1])
    irqs.set(index, EVENTFD | TRIGGER, 0, 1, [-1])
    assert refused(irqs, index, NONE | TRIGGER, 0, 1) == errno.EINVAL

# SPDX-License-Identifier: Apache-2.0
"""SET_IRQS: every argument that the kernel refuses. Case names as in libvfio-user's suite."""

from __future__ import annotations

import errno
import threading

import pytest

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
    make,
    refused,
)
from vfio_ims.errors import UsageError
from vfio_ims.platform.irqs import Irqs
from vfio_ims.platform.vectors import merging
from vfio_ims.platform.vtd import VtdRemapping
from vfio_ims.ports.values import IrqSet


@pytest.mark.parametrize("index", [-1, 5, 100])
def test_bad_index(index: int) -> None:
    assert refused(make(), index, NONE | TRIGGER, 0, 1) == errno.EINVAL


@pytest.mark.parametrize(
    ("index", "kind"),
    [(-1, "index -1"), (INTX, "INTX"), (MSI, "MSI"), (MSIX, "MSIX"), (ERR, "ERR"), (REQ, "REQ"), (5, "index 5")],
)
def test_a_refusal_names_the_kind(index: int, kind: str) -> None:
    with pytest.raises(UsageError, match=rf"little: set interrupts \({kind}, start 99, count 1\)"):
        make().set(index, NONE | TRIGGER, 99, 1)


def test_bad_flags_mask_and_unmask() -> None:
    irqs = make()
    assert refused(irqs, MSIX, NONE | MASK | UNMASK, 0, 1) == errno.ENOTTY
    assert refused(irqs, INTX, NONE | MASK | UNMASK, 0, 1) == errno.ENOTTY
    assert refused(irqs, INTX, NONE, 0, 1) == errno.ENOTTY, "no action at all"


@pytest.mark.parametrize("flags", [NONE | BOOL, BOOL | EVENTFD, 0, 1 << 6])
def test_bad_flags_data_none_and_data_bool(flags: int) -> None:
    assert refused(make(), MSIX, flags | TRIGGER, 0, 1) == errno.EINVAL


@pytest.mark.parametrize(("start", "number"), [(8, 1), (7, 2), (0, 9), (0, 0xFFFFFFFF), (0xFFFFFFFF, 1), (-1, 1)])
def test_bad_start_count_range(start: int, number: int) -> None:
    assert refused(make(), MSIX, NONE | TRIGGER, start, number) == errno.EINVAL


@pytest.mark.parametrize("index", [ERR, REQ])
@pytest.mark.parametrize("action", [MASK, UNMASK])
def test_bad_action_for_err_and_req_irq(index: int, action: IrqSet) -> None:
    assert refused(make(), index, NONE | action, 0, 1) == errno.ENOTTY


@pytest.mark.parametrize("index", [ERR, REQ])
@pytest.mark.parametrize(("start", "number"), [(1, 1), (0, 2)])
def test_bad_start_count_range_for_err_and_req_irq(index: int, start: int, number: int) -> None:
    assert refused(make(), index, NONE | TRIGGER, start, number) == errno.EINVAL


def test_bad_start_for_count_0() -> None:
    assert refused(make(), MSIX, NONE | TRIGGER, 8, 0) == errno.EINVAL


def test_bad_action_for_count_0(fds: list[int]) -> None:
    irqs = make()
    irqs.set(MSIX, EVENTFD | TRIGGER, 0, 1, fds[:1])
    assert refused(irqs, MSIX, NONE | MASK, 0, 0) == errno.ENOTTY


def test_bad_action_and_data_type_for_count_0(fds: list[int]) -> None:
    irqs = make()
    assert refused(irqs, MSIX, EVENTFD | TRIGGER, 0, 0) == errno.EINVAL
    assert refused(irqs, REQ, BOOL | TRIGGER, 0, 0) == errno.EINVAL
    assert refused(irqs, REQ, EVENTFD | TRIGGER, 0, 0) == errno.EINVAL


@pytest.mark.parametrize(
    ("flags", "number", "data"), [(NONE, 1, [1]), (BOOL, 2, [1]), (EVENTFD, 2, [3]), (BOOL, 1, [])]
)
def test_data_of_another_length(flags: int, number: int, data: list[int]) -> None:
    assert refused(make(), MSIX, flags | TRIGGER, 0, number, data) == errno.EINVAL


def test_bad_fds_for_count_2(fds: list[int]) -> None:
    irqs = make()
    with open("/dev/null") as null:
        assert refused(irqs, MSIX, EVENTFD | TRIGGER, 0, 2, [fds[0], null.fileno()]) == errno.EINVAL
    assert refused(irqs, MSIX, EVENTFD | TRIGGER, 0, 2, [fds[0], 99999]) == errno.EBADF
    assert not irqs.msix.enabled, "a first call that fails leaves nothing enabled"


def test_no_such_kind(fds: list[int]) -> None:
    irqs = Irqs("little", 8, {REQ: 1}, VtdRemapping(4), threading.Lock(), merging("never"))
    assert refused(irqs, MSIX, EVENTFD | TRIGGER, 0, 1, fds[:1]) == errno.EINVAL
    assert irqs.info(MSIX).count == 0

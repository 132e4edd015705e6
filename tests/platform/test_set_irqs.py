# SPDX-License-Identifier: Apache-2.0
"""SET_IRQS: every argument that the kernel refuses, and what the others do. Case names as in libvfio-user's suite."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from vfio_ims.errors import DeviceBusy, UnsupportedError, UsageError, VfioImsError
from vfio_ims.platform.irqs import Irqs
from vfio_ims.platform.vectors import merging
from vfio_ims.platform.vtd import VtdRemapping
from vfio_ims.ports.values import IrqFlags, IrqIndex, IrqSet

NONE, BOOL, EVENTFD = IrqSet.DATA_NONE, IrqSet.DATA_BOOL, IrqSet.DATA_EVENTFD
MASK, UNMASK, TRIGGER = IrqSet.ACTION_MASK, IrqSet.ACTION_UNMASK, IrqSet.ACTION_TRIGGER
INTX, MSI, MSIX, ERR, REQ = IrqIndex
COUNTS = {INTX: 1, MSI: 4, MSIX: 8, ERR: 1, REQ: 1}


class Recorder:
    """Which vectors the device side was notified of."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int, list[bool]]] = []

    def __call__(self, index: int, start: int, armed: Sequence[bool]) -> None:
        self.calls.append((index, start, list(armed)))


def make(*, dynamic: bool = True, entries: int = 64, changed: Recorder | None = None) -> Irqs:
    return Irqs(
        "little",
        8,
        COUNTS,
        VtdRemapping(entries),
        threading.Lock(),
        merging("never"),
        dynamic=dynamic,
        changed=changed or Recorder(),
    )


def count(fd: int) -> int:
    try:
        return os.eventfd_read(fd)
    except BlockingIOError:
        return 0


def open_fds() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def refused(irqs: Irqs, index: int, flags: int, start: int, number: int, data: Sequence[int] = ()) -> int | None:
    with pytest.raises(VfioImsError) as caught:
        irqs.set(index, flags, start, number, data)
    assert caught.value.device == "little"
    assert caught.value.why
    return caught.value.errno


# --- arguments --------------------------------------------------------------------------------------------------------


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


# --- MSI and MSI-X ----------------------------------------------------------------------------------------------------


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
    before = open_fds()
    irqs = make()
    irqs.set(MSIX, EVENTFD | TRIGGER, 0, 8, fds)
    irqs.set(REQ, EVENTFD | TRIGGER, 0, 1, fds[:1])
    irqs.set(ERR, EVENTFD | TRIGGER, 0, 1, fds[:1])
    assert open_fds() == before + 10
    refused(irqs, MSIX, EVENTFD | TRIGGER, 0, 2, [fds[0], 99999])
    irqs.close()
    irqs.close()
    assert open_fds() == before


# --- ERR and REQ ------------------------------------------------------------------------------------------------------


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


# --- any order of calls -----------------------------------------------------------------------------------------------


class AgainstTheKernelsRules(RuleBasedStateMachine):
    """MSI-X calls in any order, against a few lines of what must be true."""

    def __init__(self) -> None:
        super().__init__()
        self.fds = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(8)]
        self.before = open_fds()
        self.irqs = make(entries=6)
        self.enabled = False
        self.attached: dict[int, int] = {}  # vector: which eventfd
        self.claimed: set[int] = set()

    @rule(start=st.integers(0, 7), which=st.lists(st.sampled_from([-1, 0, 1, 2, 3, 99]), min_size=1, max_size=4))
    def attach(self, start: int, which: list[int]) -> None:
        numbers = [self.fds[item] if 0 <= item < 8 else item if item < 0 else 99999 for item in which]
        span = range(start, start + len(which))
        first_bad: int | None = None
        claimed = set(self.claimed)
        if span.stop <= 8:
            if not self.enabled:
                claimed = set(range(span.stop)) if span.stop <= 6 else None  # type: ignore[assignment]
            if claimed is not None:
                for vector, item in zip(span, which, strict=True):
                    if item < 0:
                        continue
                    if vector not in claimed:
                        if len(claimed) == 6:
                            first_bad = vector
                            break
                        claimed.add(vector)
                    if item == 99:
                        first_bad = vector
                        break
        try:
            self.irqs.set(MSIX, EVENTFD | TRIGGER, start, len(which), numbers)
        except UsageError:
            assert span.stop > 8 or first_bad is not None
        except DeviceBusy:  # the remapping table is full
            assert claimed is None or first_bad is not None
        else:
            assert first_bad is None
            assert claimed is not None
            assert span.stop <= 8
        if span.stop > 8 or claimed is None:
            return
        if first_bad is not None:
            if not self.enabled:
                return
            for vector in range(start, first_bad + 1):
                self.attached.pop(vector, None)
        else:
            for vector, item in zip(span, which, strict=True):
                self.attached.pop(vector, None)
                if item >= 0:
                    self.attached[vector] = item
        self.enabled, self.claimed = True, claimed

    @rule()
    def disable(self) -> None:
        try:
            self.irqs.set(MSIX, NONE | TRIGGER, 0, 0)
        except UsageError:
            assert not self.enabled
        else:
            assert self.enabled
        self.enabled = False
        self.attached.clear()
        self.claimed.clear()

    @rule(vector=st.integers(0, 7))
    def trigger(self, vector: int) -> None:
        try:
            self.irqs.set(MSIX, NONE | TRIGGER, vector, 1)
        except UsageError:
            assert not self.enabled
        counts = [count(fd) for fd in self.fds]
        expected = [0] * 8
        if vector in self.attached:
            expected[self.attached[vector]] = 1
        assert counts == expected

    @invariant()
    def the_table_shows_exactly_the_attached_vectors(self) -> None:
        assert self.irqs.msix.enabled == self.enabled
        messages = set()
        for vector in range(8):
            entry = self.irqs.table.read(16 * vector, 16)
            if vector in self.attached:
                assert entry[:8] != bytes(8)
                assert entry[12] == 0
                messages.add(entry[:12])
            else:
                assert entry == bytes(12) + b"\1\0\0\0"
        assert len(messages) == len(self.attached)

    @invariant()
    def as_many_descriptors_as_attached_vectors(self) -> None:
        assert open_fds() == self.before + len(self.attached)

    def teardown(self) -> None:
        self.irqs.close()
        assert open_fds() == self.before
        for fd in self.fds:
            os.close(fd)


AgainstTheKernelsRules.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestAgainstTheKernelsRules = AgainstTheKernelsRules.TestCase

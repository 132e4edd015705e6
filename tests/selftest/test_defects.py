# SPDX-License-Identifier: Apache-2.0
"""Each kind of broken device is found and named, with its slots, and with nothing else."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import pytest

import vfio_ims
from tests.selftest.devices import PASIDS, TestedDriver, TestedModel, make_model, open_model
from vfio_ims.driver import FireReport
from vfio_ims.ims import FireStatus
from vfio_ims.models.defects import DroppingSlots
from vfio_ims.models.slot_store import SlotStore
from vfio_ims.registers import SlotLayout
from vfio_ims.selftest import Kind, Options, Outcome, Report, run
from vfio_ims.selftest.context import Context

FAST = Options(timeout=0.1, settle=0.01, dwell=0.004)


def failing(kind: type[TestedModel], driver: type[TestedDriver] = TestedDriver, **options: Any) -> Report:
    opened = open_model(kind, driver, **options)
    with opened.driver:
        report = run(opened.driver, options=FAST)
    assert not report.passed
    assert str(report).splitlines()[-1].startswith("FAILED")
    return report


def names(report: Report) -> list[tuple[Kind, str]]:
    return [(finding.kind, finding.text) for finding in report.findings]


class Echoes:
    """Sends messages again: after five others, or as soon as the self-test leaves the device alone.

    Real echoes come by the clock. Here messages and pauses are the clock, so that a busy machine changes nothing.
    """

    known: ClassVar[list[Echoes]] = []

    def __init__(self, _delay: float, emit: Callable[[int, Any], None]) -> None:
        self._emit, self._messages = emit, 0
        self._due: deque[tuple[int, int, Any]] = deque()
        self.known.append(self)

    def message(self) -> None:
        self._messages += 1
        self._send(self._messages)

    def after(self, index: int, slot: Any) -> None:
        self.message()
        self._due.append((self._messages + 5, index, slot))

    def pause(self) -> None:
        self._send(math.inf)

    def _send(self, due: float) -> None:
        while self._due and self._due[0][0] <= due:
            self._emit(*self._due.popleft()[1:])

    def close(self) -> None:
        self._due.clear()


@pytest.fixture
def echoes(monkeypatch: pytest.MonkeyPatch) -> None:
    """``Echoes`` for all who send again later."""
    pause = Context.pause

    def pause_with_echoes(self: Context, seconds: float) -> None:
        for each in Echoes.known:
            each.pause()
        pause(self, seconds)

    monkeypatch.setattr(Echoes, "known", [])
    monkeypatch.setattr(Context, "pause", pause_with_echoes)
    monkeypatch.setattr("vfio_ims.models.defects.Echo", Echoes)


@pytest.mark.usefixtures("echoes")
@pytest.mark.parametrize(
    ("defect", "kind", "text"),
    [
        ("alias", Kind.ALIAS, "slots 8-15 alias slots 0-7"),
        ("ignores-mask", Kind.IGNORES_MASK, "every slot ignores its mask"),
        ("twice", Kind.TWICE, "every slot fires twice"),
        ("drops", Kind.DROPS, "drops messages: 11 of 176 lost, "),
        ("clears-neighbour", Kind.DISTURBED, "slots 0, 2, 4, 6, 8, 10, 12, 14 fall silent when a neighbour is closed"),
        ("forgets", Kind.DEAD_AFTER_RESET, "slots from 8 on are dead after a reset: entries do not keep what is writ"),
    ],
)
def test_the_broken_examples_are_named(defect: str, kind: Kind, text: str) -> None:
    with vfio_ims.open_driver(f"mock:minimal,defect={defect}") as driver:
        report = run(driver, options=FAST)
        assert report.verdict == "failed"
        assert report.broken_rung is None
        ((found, said),) = names(report)
        assert found is kind
        assert said.startswith(text)
        counts = report.counts
        assert counts.fired == counts.delivered + counts.lost + counts.misrouted
        faulty = {"alias": "misrouted", "ignores-mask": "unexpected", "twice": "duplicated"}.get(defect, "lost")
        for name in ("misrouted", "unexpected", "duplicated", "lost"):
            assert (getattr(counts, name) > 0) == (name == faulty), name
        assert not report.quiet
        assert report.to_json()["findings"][0]["kind"] == kind.value  # type: ignore[index]


def test_every_count_of_an_alias() -> None:
    with vfio_ims.open_driver("mock:minimal,defect=alias") as driver:
        counts = run(driver, options=FAST).counts
    # Words: the lower eight write the upper eight's. Pass 1 pairs i and i + 8 with different donors, pass 0 does not.
    assert (counts.fired, counts.delivered, counts.misrouted, counts.lost) == (48, 32, 16, 0)


def test_every_count_of_a_blind_mask_and_of_lost_slots() -> None:
    with vfio_ims.open_driver("mock:minimal,defect=ignores-mask") as driver:
        counts = run(driver, options=FAST).counts
    assert (counts.fired, counts.delivered, counts.withheld, counts.unexpected) == (144, 144, 0, 32)
    with vfio_ims.open_driver("mock:minimal,defect=forgets") as driver:
        report = run(driver, options=FAST)
    assert report.counts.lost == 16  # the upper half in both passes after the reset; later steps leave it out
    assert report.findings[0].slots == tuple(range(8, 16))
    assert "8 entries do not read back as they were written again" in str(report)
    assert [step.name for step in report.steps if step.outcome is Outcome.FAILED] == ["reset", "donor passes, after it"]


class OneAlias(SlotStore):
    """Entry 64 is entry 0: by its messages only, it reads back well."""

    def fire(self, index: int, pasid: int | None = None) -> FireStatus:
        return super().fire(0 if index == 64 else index, pasid)


class WithStore(TestedModel):
    store: type[SlotStore]

    def _slot_store(self, layout: Any) -> SlotStore:
        return self.store(layout, self.send)


def with_store(store: type[SlotStore], slots: int, vectors: int, **layout: Any) -> type[TestedModel]:
    made = make_model(slots, vectors, base=WithStore, **layout)
    made.store = store  # type: ignore[attr-defined]
    return made


@pytest.mark.parametrize("vectors", [1, 3, 8])
def test_one_alias_is_found_by_its_messages(vectors: int) -> None:
    report = failing(with_store(OneAlias, 80, vectors))
    assert names(report) == [(Kind.ALIAS, "slot 64 aliases slot 0")]
    assert report.findings[0].slots == (64,)


def test_one_alias_is_found_by_its_sequence_of_donors_alone() -> None:
    with open_model(with_store(OneAlias, 80, 3)).driver as driver:
        report = run(driver, options=Options(timeout=0.1, settle=0.01, words=False))
    assert names(report) == [(Kind.ALIAS, "slot 64 aliases slot 0")]
    # 64 and 0 differ in digits 0, 2 and 3 of base 3: 2101 and 0000.
    assert report.counts.misrouted == 3


class BlindSlot(SlotStore):
    def fire(self, index: int, pasid: int | None = None) -> FireStatus:
        if index == 3 and self.slot(3).masked:
            self.emit(3, self.slot(3))
            return FireStatus.SENT
        return super().fire(index, pasid)


def test_one_slot_that_ignores_its_mask() -> None:
    report = failing(with_store(BlindSlot, 40, 4))
    assert names(report) == [(Kind.IGNORES_MASK, "slot 3 ignores its mask")]
    assert report.counts.unexpected == 2
    assert report.counts.withheld == 78


class EchoingSlot(SlotStore):
    """Slot 7 sends each message again."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.echoes = Echoes(0.001, super().emit)

    def emit(self, index: int, slot: Any) -> None:
        super().emit(index, slot)
        if index == 7:
            self.echoes.after(index, slot)
        else:
            self.echoes.message()


@pytest.mark.usefixtures("echoes")
@pytest.mark.parametrize("vectors", [1, 4])
def test_one_slot_that_fires_again_later(vectors: int) -> None:
    report = failing(with_store(EchoingSlot, 24, vectors))
    assert names(report) == [(Kind.TWICE, "slot 7 fires twice")]
    assert report.counts.duplicated >= 2
    assert report.counts.lost == report.counts.misrouted == report.counts.unexpected == 0


class Rarely(DroppingSlots):
    """Forgets the 100th message."""

    def emit(self, index: int, slot: Any) -> None:
        self._sent += 1
        if self._sent != 100:
            SlotStore.emit(self, index, slot)


def test_one_lost_message() -> None:
    report = failing(with_store(Rarely, 40, 4))
    assert report.counts.lost == 1
    ((kind, text),) = names(report)
    assert kind is Kind.DROPS
    assert text.startswith("drops messages: 1 of 496 lost, slot ")


class Crossed(TestedModel):
    """Slot 5 raises vector 0 whatever it holds."""

    def raise_slot(self, slot: int, pasid: int | None) -> FireStatus:
        if slot == 5 and not self.slots.slot(5).masked and self.slots.slot(5).message.address >= 0xFEE0_0000:
            self.raise_vector(0)
            return FireStatus.SENT
        return super().raise_slot(slot, pasid)


def test_a_slot_on_the_wrong_vector() -> None:
    report = failing(make_model(12, 3, base=Crossed))
    kinds = [kind for kind, _ in names(report)]
    assert Kind.MISROUTED in kinds or Kind.ALIAS in kinds
    assert report.counts.misrouted > 0
    assert any(5 in finding.slots for finding in report.findings)


class Lax(TestedModel):
    """Does not compare slot 2's PASID, and says nothing of refusing slot 4."""

    def raise_slot(self, slot: int, pasid: int | None) -> FireStatus:
        own = self.slots.slot(slot).pasid
        if slot == 2 and own is not None:
            return super().raise_slot(slot, own)
        fate = super().raise_slot(slot, pasid)
        return FireStatus.SENT if slot == 4 and fate is FireStatus.REFUSED else fate


def test_pasids_that_are_not_compared_or_not_reported() -> None:
    report = failing(make_model(6, 2, base=Lax, **PASIDS))
    assert names(report) == [
        (Kind.IGNORES_PASID, "slot 2 is raised by another PASID"),
        (Kind.NOT_REPORTED, "slot 4 refuses and does not say so"),
    ]
    assert (report.counts.unexpected, report.counts.refused) == (2, 8)


class Forgetful(SlotStore):
    """Shows no pending bit in entry 1, and keeps entry 2's for ever."""

    def _set_pending(self, index: int) -> None:
        if index != 1:
            super()._set_pending(index)

    def discharge(self, index: int) -> None:
        if index != 2 or self.slot(2).message.address < 0xFEE0_0000:
            super().discharge(index)


def test_pending_bits_not_shown_or_not_sent() -> None:
    report = failing(with_store(Forgetful, 4, 2))
    assert (Kind.NO_PENDING, "slot 1 shows no pending bit") in names(report)
    assert (Kind.STUCK, "slot 2 keeps its pending interrupt") in names(report)


class Unwilling(TestedModel):
    """Refuses slot 3 once the table is in use."""

    def raise_slot(self, slot: int, pasid: int | None) -> FireStatus:
        return FireStatus.REFUSED if slot == 3 else super().raise_slot(slot, pasid)


def test_a_refusal_is_reported_in_the_devices_words() -> None:
    report = failing(make_model(6, 2, base=Unwilling))
    assert names(report) == [(Kind.REFUSED, "slot 3 is refused: refused (wrong PASID)")]
    assert report.counts.refused > 0
    assert report.seconds < 5  # nothing is waited for


class Misnames(TestedDriver):
    def fired(self, slots: Sequence[int]) -> Sequence[int]:
        return [slot for slot in slots if slot != 2]


def test_a_source_that_does_not_name_its_slot() -> None:
    report = failing(make_model(4, 2), Misnames)
    assert (Kind.NOT_NAMED, "slot 2 is not named by fired()") in names(report)
    assert report.counts.lost > 0


class Scattered(TestedModel):
    """Each fire of slot 1 raises vector 3 beside its own."""

    def raise_slot(self, slot: int, pasid: int | None) -> FireStatus:
        fate = super().raise_slot(slot, pasid)
        if slot == 1 and fate is FireStatus.SENT:
            self.raise_vector(3)
        return fate


def test_a_slot_that_raises_another_vector_as_well() -> None:
    report = failing(make_model(8, 4, base=Scattered))
    assert (Kind.MISROUTED, "slot 1 raises vector 3 as well") in names(report)
    assert report.counts.misrouted > 0


class Stray(TestedModel):
    """Slot 3 is dead, and the second fire of slot 0 raises vector 3 beside its own, where nothing is fired then."""

    fires = 0

    def raise_slot(self, slot: int, pasid: int | None) -> FireStatus:
        if slot == 3:
            return FireStatus.SENT
        fate = super().raise_slot(slot, pasid)
        self.fires += slot == 0 and fate is FireStatus.SENT
        if slot == 0 and self.fires == 2:
            self.raise_vector(3)
        return fate


def test_an_event_where_nothing_was_fired() -> None:
    report = failing(make_model(4, 4, base=Stray))
    assert (Kind.MISROUTED, "misrouted: events where nothing was fired: 1 on vector 3") in names(report)
    assert (Kind.DEAD, "slot 3 is dead") in names(report)
    assert report.counts.misrouted == 1


class Dead(TestedModel):
    def raise_slot(self, slot: int, pasid: int | None) -> FireStatus:
        return FireStatus.SENT if slot > 2 else super().raise_slot(slot, pasid)


def test_a_dead_table_is_not_waited_for_slot_by_slot() -> None:
    report = failing(make_model(120, 4, base=Dead))
    ((kind, text),) = names(report)
    assert kind is Kind.DEAD
    assert text == "slots from 3 on are dead"
    assert report.seconds < 10


class Fickle(TestedDriver):
    """Reports of a masked slot that it was sent, of an unmasked one that it pends."""

    def fire(self, slot: int, *, pasid: int | None = None) -> FireReport:
        super().fire(slot, pasid=pasid)
        return FireReport(FireStatus.PENDING)


def test_a_driver_that_calls_a_sent_message_pending_breaks_a_rung() -> None:
    report = failing(make_model(4, 2), Fickle)
    assert report.broken_rung is not None
    assert "slot 0, unmasked, is pending" in report.broken_rung.text


def test_a_slot_whose_entry_keeps_half_of_it() -> None:
    class Narrow(SlotStore):
        def store(self, offset: int, data: bytes) -> list[int]:
            if offset == 2 * self.layout.stride + 8:  # entry 2's data has 8 bits
                data = data[:1] + bytes(3)
            return super().store(offset, data)

    layout = SlotLayout(bar=0, offset=0x10000, count=4)
    assert layout.data == 8
    with open_model(with_store(Narrow, 4, 2)).driver as driver:
        assert run(driver, options=FAST).passed  # this platform's messages fit 8 bits


class Swapped(TestedModel):
    """Slots 4 and 7 are each other."""

    def raise_slot(self, slot: int, pasid: int | None) -> FireStatus:
        return super().raise_slot({4: 7, 7: 4}.get(slot, slot), pasid)


@pytest.mark.parametrize("words", [True, False])
def test_two_slots_that_are_fired_together_and_answer_for_each_other(words: bool) -> None:
    opened = open_model(make_model(64, 8, base=Swapped))
    with opened.driver:
        report = run(opened.driver, options=Options(timeout=0.1, settle=0.01, words=words))
    assert report.counts.misrouted > 0
    assert {kind for kind, _ in names(report)} <= {Kind.ALIAS, Kind.MISROUTED}
    assert {slot for finding in report.findings for slot in finding.slots} <= {4, 7}


class Hasty(TestedDriver):
    """Leaves the last of several slots out, and does not say so."""

    def fire_many(self, slots: Sequence[int]) -> list[FireReport]:
        return [self.fire(slot) for slot in slots[:1] + slots[:-1][1:]]


def test_a_driver_that_reports_on_too_few_of_many() -> None:
    report = failing(make_model(16, 4), Hasty)
    ((kind, text),) = names(report)
    assert kind is Kind.ERROR
    assert "own words: fire_many(slots 0-3) must return a FireReport for each" in text


class Skipping(TestedDriver):
    """Of several slots fires all but the last, and reports that it was sent."""

    def fire_many(self, slots: Sequence[int]) -> list[FireReport]:
        return [self.fire(slot) for slot in slots[:-1]] + [FireReport(FireStatus.SENT)]


def test_a_driver_that_does_not_fire_all_of_many_is_not_believed() -> None:
    report = failing(make_model(16, 4), Skipping)
    assert report.counts.lost > 0
    assert Kind.DROPS in {kind for kind, _ in names(report)}

# SPDX-License-Identifier: Apache-2.0
"""Pairing, rounds, reconciling, ranges and percentiles, each by itself."""

from __future__ import annotations

from unittest.mock import Mock

from hypothesis import given, settings
from hypothesis import strategies as st

from vfio_ims.ims.donor import Donor
from vfio_ims.interrupts import DonorVector
from vfio_ims.messages import Message
from vfio_ims.native.events import EventFd
from vfio_ims.ranges import spans
from vfio_ims.selftest import Counts, Latency
from vfio_ims.selftest.diagnosis import name_findings
from vfio_ims.selftest.findings import Kind, name_slots
from vfio_ims.selftest.passes import pairing, pass_count
from vfio_ims.selftest.reconcile import Ledger, rounds
from vfio_ims.selftest.slot_evidence import SlotEvidence


@given(st.integers(1, 3000), st.integers(1, 40))
def test_the_least_passes_that_give_each_slot_its_own_sequence(slots: int, donors: int) -> None:
    passes = pass_count(slots, donors)
    if donors == 1:
        assert passes == 1
        return
    assert donors**passes >= slots
    assert passes == 1 or donors ** (passes - 1) < slots
    sequences = set(zip(*(pairing(range(slots), number, donors) for number in range(passes)), strict=True))
    assert len(sequences) == slots


@given(st.lists(st.integers(0, 5), max_size=60))
def test_rounds_hold_every_slot_once_and_every_vector_once_at_most(vectors: list[int]) -> None:
    slots = list(range(100, 100 + len(vectors)))
    made = list(rounds(slots, vectors))
    assert sorted(slot for each in made for slot in each) == slots
    for each in made:
        used = [vectors[slot - 100] for slot in each]
        assert len(set(used)) == len(used)
    assert len(made) == max((vectors.count(vector) for vector in set(vectors)), default=0)


@given(st.sets(st.integers(0, 300), max_size=80))
def test_ranges_name_exactly_these_slots(slots: set[int]) -> None:
    found = set()
    for span in spans(slots):
        first, _, last = span.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    assert found == slots


def test_slots_in_words() -> None:
    assert name_slots([7]) == "slot 7"
    assert name_slots([0, 1, 2, 5]) == "slots 0-2, 5"
    assert name_slots(range(8, 16), 16) == "slots from 8 on"
    assert name_slots(range(16), 16) == "every slot"
    assert name_slots([15], 16) == "slot 15"
    assert name_slots(range(0, 40, 2)).endswith("14 and 12 more ranges")


def test_percentiles() -> None:
    assert Latency.of([]) is None
    latency = Latency.of(number / 1e6 for number in range(101))
    assert latency is not None
    assert (latency.count, latency.p50, latency.p99, latency.max) == (101, 50.0, 99.0, 100.0)


def test_counts_add_up() -> None:
    both = Counts(fired=3, lost=1) + Counts(fired=2, unexpected=1)
    assert both == Counts(fired=5, lost=1, unexpected=1)
    assert both.faults == 2
    assert "refires" not in str(both)


def donors(count: int) -> list[Donor]:
    made = []
    for vector in range(count):
        with EventFd() as event:
            attached = DonorVector(vector, event, Message(0xFEE0_0000, vector))
            made.append(Donor(attached, Mock(), Mock()))
    return made


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(["fire", "event", "look", "give up"]), st.integers(0, 2)), max_size=40))
def test_the_ledger_accounts_for_every_event_once(steps: list[tuple[str, int]]) -> None:
    """Events = fires answered + extras, whatever the order."""
    made = donors(3)
    ledger, answered, extra, events, late = Ledger(made), 0, 0, 0, 0
    for step, place in [*steps, ("look", 0)]:
        account = ledger.accounts[place]
        if step == "fire" and account.open is None:
            account.expect(len(steps))
        elif step == "event":
            made[place].attached.count += 1
            events += 1
        elif step == "give up" and account.open is not None:
            account.give_up()
        elif step == "look":
            before = sum(each.open is not None for each in ledger.accounts)
            for found in ledger.take_extras():
                extra += found.count
                late += found.late is not None
            answered += before - sum(each.open is not None for each in ledger.accounts)
    assert answered + extra == events
    assert late <= extra


def test_a_donor_that_came_late_is_not_an_echo() -> None:
    (donor,) = donors(1)
    ledger = Ledger([donor])
    ledger.accounts[0].expect(4)
    ledger.accounts[0].give_up()
    donor.attached.count += 2
    (extra,) = ledger.take_extras()
    assert (extra.count, extra.late) == (2, 4)
    assert ledger.take_extras() == []


def test_what_was_so_before_the_reset_is_not_reported_again() -> None:
    first, second = SlotEvidence(), SlotEvidence(after_reset=True)
    first.leaks, second.leaks = {1, 2}, {1, 2}
    assert [each.text for each in name_findings(first, second, 8, 2)] == ["slots 1-2 ignore their masks"]
    second.leaks = {1, 2, 3}
    assert [each.text for each in name_findings(first, second, 8, 2)] == [
        "slots 1-2 ignore their masks",
        "slots 1-3 ignore their masks after a reset",
    ]
    first.leaks.clear()
    second.leaks.clear()
    second.not_woken = {5}
    ((kind, text),) = [(each.kind, each.text) for each in name_findings(first, second, 8, 2)]
    assert (kind, text) == (Kind.NOT_WOKEN, "slot 5 did not wake its owner after a reset")


def test_losses_and_echoes_are_summed_over_the_reset() -> None:
    first, second = SlotEvidence(), SlotEvidence(after_reset=True)
    for evidence, slot in ((first, 3), (second, 6)):
        evidence.sent.update(range(8))
        evidence.lost[slot] += 1
        evidence.worked |= set(range(8))
        evidence.echoes[5] += 2
        evidence.cleared.add(5)
    assert [each.text for each in name_findings(first, second, 8, 2)] == [
        "drops messages: 2 of 16 lost, slots 3, 6",
        "4 extra events, none when fired alone again; near slots 5",
    ]
    first.twice.add(5)
    assert name_findings(first, second, 8, 2)[-1].text == "slot 5 fires twice"

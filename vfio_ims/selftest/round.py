# SPDX-License-Identifier: Apache-2.0
"""Rounds of fires, one message in flight a donor: fired together, learned from one drain of the events.

A fire and an event that do not match are refired at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from vfio_ims.ims import FireReport, FireStatus
from vfio_ims.interrupts.wakeup import take_each
from vfio_ims.selftest.reconcile import Account, Extra, Ledger
from vfio_ims.selftest.refire import Refire
from vfio_ims.selftest.slot_results import SlotResult

if TYPE_CHECKING:
    from vfio_ims.ims import ImsInterrupt
    from vfio_ims.selftest.context import Context
    from vfio_ims.selftest.counts import Tally
    from vfio_ims.selftest.slot_evidence import SlotEvidence

__all__ = ["Rounds"]


class Rounds:
    """Fires slots that must arrive, each at ``vectors[slot]``, whose owners are ``interrupts[slot]``.

    ``number``: the pass, for the routes in the evidence. ``act``: what sends the messages; ``fire_many`` unless it is
    given.
    """

    def __init__(
        self,
        context: Context,
        evidence: SlotEvidence,
        tally: Tally,
        interrupts: Mapping[int, ImsInterrupt],
        vectors: Mapping[int, int],
        *,
        number: int | None = None,
        act: Callable[[Sequence[int]], Sequence[FireReport] | None] | None = None,
    ) -> None:
        self._context, self._evidence, self._tally = context, evidence, tally
        self._interrupts, self._vectors, self._number = interrupts, vectors, number
        self._act = act or context.fire_many
        self.ledger = Ledger(context.donors())
        by_vector = self.ledger.by_vector
        self._accounts = {slot: by_vector[vectors[slot]] for slot in vectors}
        self._wakeups = {slot: interrupts[slot].wakeup for slot in vectors}
        self.refire = Refire(context, tally, self.ledger, vectors)
        self._refires = act is None  # a fire that is no plain one cannot simply be repeated

    def fire_round(self, slots: Sequence[int]) -> None:
        """Fire ``slots``, whose vectors differ, all together, and see who was woken."""
        extras = self.settled()
        if extras:
            self._extras(extras)
        start, shots = time.perf_counter(), self._shoot(slots)
        self._context.domain.hub.drain()
        arrived = self._arrived_together(shots)
        late = [slot for slot in slots if slot not in arrived]
        silent = [slot for slot in late if slot not in shots or not self._arrives(slot, shots[slot], start)]
        self._explain_all(silent, self.settled())

    def fire_apart(self, slots: Sequence[int]) -> list[Extra]:
        """Fire ``slots``, whose vectors differ, each after the other arrived, and measure how long that takes.

        Returns what came beyond the fires: whose it is, ``fire_again`` finds out.
        """
        extras, silent = self.settled(), []
        for slot in slots:
            start, shots = time.perf_counter(), self._shoot((slot,))
            if not shots or not self._arrives(slot, shots[slot], start, measured=True):
                silent.append(slot)
        if silent:
            self._explain_all(silent, extras + self.settled())
            extras = []
        return extras + self.settled()

    def fire_again(self, rounds: Sequence[Sequence[int]], seen: Sequence[Extra]) -> None:
        """Refire ``rounds`` of slots, among which extra events were ``seen``.

        Each slot alone, every donor watched, and each round left alone for the dwell time: then an echo is its own.
        """
        before = self._evidence.weight()
        for slots in rounds:
            extras = list[Extra]()
            for slot in slots:
                self._refire(slot)
                extras += self._beside(slot, slots)
            self._context.pause(self._context.options.dwell)
            self._extras(extras + self.settled())
        again = self._evidence.weight() > before
        self._extras([extra for extra in seen if extra.late is not None or not again])

    def _refire(self, slot: int) -> None:
        """Fire a slot of which it is known whether it arrives: its event is awaited, and no fire of the test."""
        account = self._accounts[slot]
        base = account.counter.count
        account.expect(slot)
        self._tally.refires += 1
        self._context.fire(slot)
        if not self._context.until(lambda: account.counter.count > base, min(self._context.settle, 0.1)):
            account.give_up()

    def _explain_all(self, silent: Sequence[int], extras: list[Extra]) -> None:
        """The end of a round: who was ``silent`` is explained, then what came beyond the fires is accounted for."""
        if silent:
            self._context.silence()
            for slot in silent:
                extras = self._explain(slot, extras)
        if extras:
            self._extras(extras)

    def finish(self) -> None:
        """The end of a pass: let it settle, account for what still came, and fire who is suspected of an echo alone."""
        self._context.calm()
        self._extras(self.settled())
        if self._refires:
            self.refire.echoes(self._evidence)

    def _beside(self, slot: int, shots: Sequence[int]) -> list[Extra]:
        """``slot`` alone was in flight: events on donors that wait for their turn are its doing. Returns the others."""
        fired = {self._vectors[each] for each in shots[: shots.index(slot) + 1]}
        extras = self.settled()
        astray = [extra for extra in extras if extra.account.donor.vector not in fired and extra.late is None]
        if astray:
            self._tally.misrouted += sum(extra.count for extra in astray)
            self._evidence.suspects.add(slot)
            self._evidence.results.note(slot, SlotResult.MISROUTED, astray=astray[0].account.donor.vector)
        return [extra for extra in extras if extra not in astray]

    def settled(self) -> list[Extra]:
        """What has come beyond the fires."""
        self._context.domain.hub.drain()
        return self.ledger.take_extras()

    def _shoot(self, slots: Sequence[int]) -> dict[int, int]:
        """Fire; the count of each one's donor before. Those that the device refused are left out: nothing will come."""
        accounts, bases = self._accounts, dict[int, int]()
        sent = self._evidence.sent
        take_each([self._wakeups[slot] for slot in slots])
        for slot in slots:
            sent[slot] = sent.get(slot, 0) + 1  # here and not by update(): it is of every fire
            bases[slot] = accounts[slot].counter.count
        self.ledger.expect(slots, self._vectors)
        self._tally.fired += len(slots)
        for slot, report in zip(slots, self._act(slots) or (), strict=False):
            if report.status is FireStatus.REFUSED:
                self._evidence.refusals.setdefault(slot, str(report))
                self._evidence.results.note(slot, SlotResult.REFUSED)
                self._tally.refused += 1
                accounts[slot].open = None
                del bases[slot]
        return bases

    def _arrived_together(self, shots: Mapping[int, int]) -> set[int]:
        """Those of ``shots`` (slots, and their donors' counts before) that have arrived, as most have by now."""
        counted = [slot for slot, base in shots.items() if self._accounts[slot].counter.count > base]
        woken = take_each([self._wakeups[slot] for slot in counted])
        arrived = [slot for slot, taken in zip(counted, woken, strict=True) if taken]
        self._tally.delivered += len(arrived)
        self._evidence.worked.update(arrived)
        self._evidence.results.note_all(arrived, SlotResult.DELIVERED)
        if self._number is not None:
            routes = self._evidence.routes
            for slot in arrived:
                routes.setdefault(slot, {})[self._number] = self._accounts[slot].place
        return set(arrived)

    def _arrives(self, slot: int, base: int, start: float, *, measured: bool = False) -> bool:
        """Wait until the owner is woken and its donor has counted."""
        account, interrupt = self._accounts[slot], self._interrupts[slot]
        if account.counter.count > base and interrupt.wakeup.take():
            self._arrived(slot, account, start if measured else None)
            return True
        limit = self._context.fire_timeout
        if slot in self._evidence.unkept or slot in self._evidence.holds:  # little hope
            limit = min(limit, self._context.settle)
        deadline = start + limit
        while True:
            left = deadline - time.perf_counter()
            woken = interrupt.wait(max(left, 0.0))
            if woken and (account.counter.count > base or left <= 0):
                # Woken without an event only when the time was up: the domain found a moved vector and rewrote it.
                if account.counter.count == base:
                    account.open = None
                self._arrived(slot, account, start if measured else None)
                return True
            if not woken:
                break
        if account.counter.count > base:
            self._evidence.unnamed.add(slot)
            self._evidence.results.note(slot, SlotResult.NOT_NAMED)
        else:
            account.give_up()
        return False

    def _arrived(self, slot: int, account: Account, start: float | None) -> None:
        if start is not None:
            self._context.latencies.append(time.perf_counter() - start)
        self._tally.delivered += 1
        self._evidence.worked.add(slot)
        self._evidence.results.note(slot, SlotResult.DELIVERED)
        self._route(slot, account.place)

    def _route(self, slot: int, place: int) -> None:
        if self._number is not None:
            self._evidence.routes.setdefault(slot, {})[self._number] = place

    def _explain(self, slot: int, extras: list[Extra]) -> list[Extra]:
        """Refire ``slot``, which was silent: alone it arrives, arrives elsewhere, or not at all."""
        account, found = self._accounts[slot], None
        if self._refires and slot not in self._evidence.refusals:
            found = self.refire.fire(slot)
        if found:
            if account in found:
                self._evidence.worked.add(slot)
            else:
                return self._strayed(slot, found, extras)
        self._tally.lost += 1
        self._evidence.lost[slot] += 1
        self._evidence.results.note(slot, SlotResult.LOST)
        return extras

    def _strayed(self, slot: int, found: Mapping[Account, int], extras: list[Extra]) -> list[Extra]:
        other = next(iter(found))
        self._tally.misrouted += 1
        self._evidence.results.note(slot, SlotResult.MISROUTED, astray=other.donor.vector)
        self._route(slot, other.place)
        pair = other.donor.vector, self._vectors[slot]
        self._evidence.misrouted_on.setdefault(slot, set()).add(pair)
        rest = []
        for extra in extras:  # that one was this slot's, unless it merged with another
            if extra.account is other and other is not self._accounts[slot]:
                other = self._accounts[slot]
                if extra.count > 1:
                    rest.append(replace(extra, count=extra.count - 1))
            else:
                rest.append(extra)
        return rest

    def _extras(self, extras: Sequence[Extra]) -> None:
        """Events beyond the fires: late ones, echoes of the last that fired there, or strays."""
        for extra in extras:
            count, last = extra.count, extra.last
            if extra.late is not None:
                self._evidence.late.add(extra.late)
                self._evidence.results.note(extra.late, SlotResult.LATE)
                count -= 1
            if not count:
                continue
            if last is None:
                self._tally.misrouted += count
                self._evidence.strays[extra.account.donor.vector] += count
            else:
                self._tally.duplicated += count
                self._evidence.echoes[last] += count
                self._evidence.results.note(last, SlotResult.EXTRA)
                if extra.before is not None:
                    self._evidence.echoes.setdefault(extra.before, 0)

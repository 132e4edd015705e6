# SPDX-License-Identifier: Apache-2.0
"""Rounds of fires, one message in flight a donor; a fire and an event that do not match are refired at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from vfio_ims.ims import FireReport, FireStatus
from vfio_ims.selftest.reconcile import Account, Extra, Ledger
from vfio_ims.selftest.refire import Refire

if TYPE_CHECKING:
    from vfio_ims.ims import ImsInterrupt
    from vfio_ims.selftest.context import Context
    from vfio_ims.selftest.counts import Tally
    from vfio_ims.selftest.slot_evidence import SlotEvidence

__all__ = ["Rounds"]


class Rounds:
    """Fires slots that must arrive, each at ``vectors[slot]``, whose owners are ``interrupts[slot]``.

    ``number``: the pass, for the routes in the evidence. ``act``: what sends the message; ``fire`` unless it is given.
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
        act: Callable[[int], FireReport | None] | None = None,
    ) -> None:
        self._context, self._evidence, self._tally = context, evidence, tally
        self._interrupts, self._vectors, self._number = interrupts, vectors, number
        self._act = act or context.fire
        self.ledger = Ledger(context.donors())
        self.refire = Refire(context, tally, self.ledger, vectors)
        self._refires = act is None  # a fire that is no plain one cannot simply be repeated

    def fire_round(self, slots: Sequence[int], *, apart: bool = False, dwell: float = 0.0) -> None:
        """Fire ``slots``, whose vectors differ: all, then wait for all; or, ``apart``, each after the other arrived.

        ``dwell``: seconds to leave them alone, so that an echo is theirs.
        """
        self._extras(self._settled())
        silent, waiting, extras = [], [], list[Extra]()
        for slot in slots:
            shot = self._shoot(slot)
            if shot is None:
                silent.append(slot)
            elif not apart:
                waiting.append((slot, *shot))
            else:
                if self._arrives(slot, *shot, measured=True):
                    extras += self._beside(slot, slots)
                else:
                    silent.append(slot)
        silent += [slot for slot, base, start in waiting if not self._arrives(slot, base, start, measured=False)]
        if dwell:
            self._context.pause(dwell)
        extras += self._settled()
        if silent:
            self._context.silence()
            for slot in silent:
                extras = self._explain(slot, extras)
        self._extras(extras)

    def finish(self) -> None:
        """The end of a pass: let it settle, account for what still came, and fire who is suspected of an echo alone."""
        self._context.calm()
        self._extras(self._settled())
        if self._refires:
            self.refire.echoes(self._evidence)

    def _beside(self, slot: int, shots: Sequence[int]) -> list[Extra]:
        """``slot`` alone was in flight: events on donors that wait for their turn are its doing. Returns the others."""
        fired = {self._vectors[each] for each in shots[: shots.index(slot) + 1]}
        extras = self._settled()
        astray = [extra for extra in extras if extra.account.donor.vector not in fired and extra.late is None]
        if astray:
            self._tally.misrouted += sum(extra.count for extra in astray)
            self._evidence.suspects.add(slot)
        return [extra for extra in extras if extra not in astray]

    def _settled(self) -> list[Extra]:
        self._context.domain.hub.drain()
        return self.ledger.take_extras()

    def _shoot(self, slot: int) -> tuple[int, float] | None:
        """Fire; None where the device refused, so that nothing will come."""
        account = self._account(slot)
        self._tally.fired += 1
        self._evidence.sent[slot] += 1
        self._interrupts[slot].wakeup.take()
        base, start = account.donor.count, time.perf_counter()
        account.expect(slot)
        report = self._act(slot)
        if report is not None and report.status is FireStatus.REFUSED:
            self._evidence.refusals.setdefault(slot, str(report))
            self._tally.refused += 1
            account.open = None
            return None
        return base, start

    def _account(self, slot: int) -> Account:
        return self.ledger.by_vector[self._vectors[slot]]

    def _arrives(self, slot: int, base: int, start: float, *, measured: bool) -> bool:
        """Wait until the owner is woken and its donor has counted."""
        account, interrupt = self._account(slot), self._interrupts[slot]
        limit = self._context.fire_timeout
        if slot in self._evidence.unkept or slot in self._evidence.holds:  # little hope
            limit = min(limit, self._context.settle)
        deadline = start + limit
        while True:
            left = deadline - time.perf_counter()
            woken = interrupt.wait(max(left, 0.0))
            if woken and (account.donor.count > base or left <= 0):
                # Woken without an event only when the time was up: the domain found a moved vector and rewrote it.
                if measured:
                    self._context.latencies.append(time.perf_counter() - start)
                if account.donor.count == base:
                    account.open = None
                self._tally.delivered += 1
                self._evidence.worked.add(slot)
                self._route(slot, account.place)
                return True
            if not woken:
                break
        if account.donor.count > base:
            self._evidence.unnamed.add(slot)
        else:
            account.give_up()
        return False

    def _route(self, slot: int, place: int) -> None:
        if self._number is not None:
            self._evidence.routes.setdefault(slot, {})[self._number] = place

    def _explain(self, slot: int, extras: list[Extra]) -> list[Extra]:
        """Refire ``slot``, which was silent: alone it arrives, arrives elsewhere, or not at all."""
        account, found = self._account(slot), None
        if self._refires and slot not in self._evidence.refusals:
            found = self.refire.fire(slot)
        if found:
            if account in found:
                self._evidence.worked.add(slot)
            else:
                return self._strayed(slot, found, extras)
        self._tally.lost += 1
        self._evidence.lost[slot] += 1
        return extras

    def _strayed(self, slot: int, found: Mapping[Account, int], extras: list[Extra]) -> list[Extra]:
        other = next(iter(found))
        self._tally.misrouted += 1
        self._route(slot, other.place)
        pair = other.donor.vector, self._vectors[slot]
        self._evidence.misrouted_on.setdefault(slot, set()).add(pair)
        rest = []
        for extra in extras:  # that one was this slot's, unless it merged with another
            if extra.account is other and other is not self._account(slot):
                other = self._account(slot)
                if extra.count > 1:
                    rest.append(Extra(extra.account, extra.count - 1, extra.late))
            else:
                rest.append(extra)
        return rest

    def _extras(self, extras: Sequence[Extra]) -> None:
        """Events beyond the fires: late ones, echoes of the last that fired there, or strays."""
        for extra in extras:
            count, last = extra.count, extra.account.last
            if extra.late is not None:
                self._evidence.late.add(extra.late)
                count -= 1
            if not count:
                continue
            if last is None:
                self._tally.misrouted += count
                self._evidence.strays[extra.account.donor.vector] += count
            else:
                self._tally.duplicated += count
                self._evidence.echoes[last] += count
                if extra.account.before is not None:
                    self._evidence.echoes.setdefault(extra.account.before, 0)

# SPDX-License-Identifier: Apache-2.0
"""Refiring a slot that failed: once more, alone, with every donor watched. Not counted as a fire."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from vfio_ims.selftest.reconcile import Account, Ledger

if TYPE_CHECKING:
    from vfio_ims.selftest.context import Context
    from vfio_ims.selftest.counts import Tally
    from vfio_ims.selftest.slot_evidence import SlotEvidence

__all__ = ["Refire"]

_MOST_ECHOES = 16


class Refire:
    """Refires slots, a bounded number of times: a dead device is not fired slot by slot for ever."""

    def __init__(self, context: Context, tally: Tally, ledger: Ledger, vectors: Mapping[int, int]) -> None:
        self._context, self._tally, self._ledger, self._vectors = context, tally, ledger, vectors

    def fire(self, slot: int, *, echo: bool = False) -> dict[Account, int] | None:
        """Events by donor; {} where none came, None after too many silent refires.

        Returns with the first event; ``echo``: only after the whole settle time.
        """
        context, accounts = self._context, self._ledger.accounts
        if not context.may_refire:
            return None
        context.domain.hub.drain()
        before = [account.counter.count for account in accounts]
        self._tally.refires += 1
        context.fire(slot)

        def moved() -> bool:
            return [account.counter.count for account in accounts] != before

        if not context.until(moved, min(context.settle, context.fire_timeout)):
            context.refire_was_silent()
        elif echo:
            context.pause(context.settle)
        found = {
            account: account.counter.count - count
            for account, count in zip(accounts, before, strict=True)
            if account.counter.count != count
        }
        self._ledger.forget()
        return found

    def echoes(self, evidence: SlotEvidence) -> None:
        """Which of the suspects fire twice, or raise another vector as well? Those seen most often first."""
        echoed = [slot for slot, _ in evidence.echoes.most_common() if slot in self._vectors]
        suspects = [*sorted(evidence.suspects), *(slot for slot in echoed if slot not in evidence.suspects)]
        for slot in [each for each in suspects if each not in evidence.twice | evidence.cleared][:_MOST_ECHOES]:
            own, echo = self._ledger.by_vector[self._vectors[slot]], False
            for found in self._three_refires(slot):
                echo = echo or found.get(own, 0) > 1
                evidence.besides.setdefault(slot, set()).update(a.donor.vector for a in found if a is not own)
            if not evidence.besides[slot]:
                del evidence.besides[slot]
            (evidence.twice if echo else evidence.cleared).add(slot)

    def _three_refires(self, slot: int) -> Iterator[dict[Account, int]]:
        """An echo may merge with what it echoes."""
        for _ in range(3):
            yield self.fire(slot, echo=True) or {}

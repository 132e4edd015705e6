# SPDX-License-Identifier: Apache-2.0
"""Looking into a failure: the slot is fired once more, alone, and every donor is watched. Not counted as a fire."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from vfio_ims.selftest.reconcile import Account, Ledger

if TYPE_CHECKING:
    from vfio_ims.selftest.counts import Tally
    from vfio_ims.selftest.evidence import Evidence
    from vfio_ims.selftest.stand import Stand

__all__ = ["Inquiry"]

_MOST_ECHOES = 16


class Inquiry:
    """Bounded: a device that is dead altogether is not asked slot by slot for ever."""

    def __init__(self, stand: Stand, tally: Tally, ledger: Ledger, vectors: Mapping[int, int]) -> None:
        self._stand, self._tally, self._ledger, self._vectors = stand, tally, ledger, vectors

    def ask(self, slot: int, *, echo: bool = False) -> dict[Account, int] | None:
        """Events by donor; {} where none came, None where too many were asked in vain already.

        Returns with the first event; ``echo``: only after the whole settle time.
        """
        stand, accounts = self._stand, self._ledger.accounts
        if not stand.asks_on:
            return None
        stand.domain.hub.drain()
        before = [account.donor.count for account in accounts]
        self._tally.inquiries += 1
        stand.fire(slot)

        def moved() -> bool:
            return any(account.donor.count != count for account, count in zip(accounts, before, strict=True))

        if not stand.until(moved, min(stand.settle, stand.patience)):
            stand.asked_in_vain()
        elif echo:
            stand.pause(stand.settle)
        found = {
            account: account.donor.count - count
            for account, count in zip(accounts, before, strict=True)
            if account.donor.count != count
        }
        self._ledger.forget()
        return found

    def echoes(self, evidence: Evidence) -> None:
        """Which of the suspects fire twice, or raise another vector as well? Those seen most often first."""
        echoed = [slot for slot, _ in evidence.echoes.most_common() if slot in self._vectors]
        suspects = [*sorted(evidence.suspects), *(slot for slot in echoed if slot not in evidence.suspects)]
        for slot in [each for each in suspects if each not in evidence.twice | evidence.cleared][:_MOST_ECHOES]:
            own, echo = self._ledger.by_vector[self._vectors[slot]], False
            for found in self._asked_thrice(slot):
                echo = echo or found.get(own, 0) > 1
                evidence.besides.setdefault(slot, set()).update(a.donor.vector for a in found if a is not own)
            if not evidence.besides[slot]:
                del evidence.besides[slot]
            (evidence.twice if echo else evidence.cleared).add(slot)

    def _asked_thrice(self, slot: int) -> Iterator[dict[Account, int]]:
        """An echo may merge with what it echoes."""
        for _ in range(3):
            yield self.ask(slot, echo=True) or {}

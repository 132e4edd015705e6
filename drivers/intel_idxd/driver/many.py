# SPDX-License-Identifier: Apache-2.0
"""Many operations at once: given as arrays, stored and harvested by compiled calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vfio_ims.native.outcome import refusal

from .columns import Column, columns_of
from .results import Results

if TYPE_CHECKING:
    from .session import Session

__all__ = ["ManyOperations", "lay_out_and_submit"]


class ManyOperations(Results):
    """In flight: ``wait()`` or ``await`` gives each one's status byte. Results stay readable until ``close``.

    Where the session completes by interrupt, a drain behind them raises it: one for all.
    """

    __slots__ = ()


def lay_out_and_submit(
    session: Session,
    answered: tuple[tuple[object, ...] | None, ManyOperations | None, int],
    arguments: tuple[int, Column, Column, Column, int, bytes, str],
) -> ManyOperations:
    """Submit descriptors as ``QueueSession.submit_many`` where its compiled call did not.

    Args:
        session: whose they are.
        answered: by that call: what those like these are found by, the results that it had, and its answer.
        arguments: submit_many's, in their order.
    """
    key, had, answer = answered
    opcode, source, destination, size, flags, specific, name = arguments
    if had is not None:
        if answer < 0 and had._work.rows.under_way:
            raise refusal(answer, f"submit {had.name}", session.label)
        had.close()
    session.check_open(name or "submit many")
    columns = columns_of(
        session.label, opcode, (source, destination, size), flags, specific, pasid=session.pasid or 0, name=name
    )
    work = session.works.take(columns)
    many = ManyOperations(work)
    try:
        work.submit()
    finally:
        work.rows.release()
    if work.call is not None:
        work.ready = key
    return many

# SPDX-License-Identifier: Apache-2.0
"""Words for a table that finds no donor: what every vector is used for, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from vfio_ims.counted import by_count, counted
from vfio_ims.errors import DeviceBusy, UnsupportedError, VfioImsError

if TYPE_CHECKING:
    from vfio_ims.interrupts import DonorVector

__all__ = ["describe_use", "name_slots", "shortage"]

_NAMED = 4  # slots that an error names


def shortage(what: str, device: str, eligible: int, why: str, kind: str) -> VfioImsError:
    """What to raise where no ``what`` can be had of ``eligible`` vectors; ``why``: what ``describe_use`` says.

    ``kind``: MSI-X or MSI.
    """
    if not eligible:
        return UnsupportedError(f"find {what}", device=device, why=f"the function has no {kind} vector to spare")
    hint = "close interrupts that hold an exclusive donor or an MSI-X vector"
    if "does not fit" in why:
        hint = "close the slots, polled ones too, whose messages keep the other vectors out of the table"
    elif "exclusive" in what:
        hint += ", or share: exclusive=False"
    return DeviceBusy(f"find {what}", device=device, why=why, hint=hint)


def describe_use(donors: Sequence[DonorVector], eligible: int, taken: Sequence[int], unfit: Mapping[int, str]) -> str:
    """What each of ``eligible`` vectors is used for.

    ``donors``: those that are attached; ``taken``: the application's; ``unfit``: by vector, why the table cannot hold
    its message.
    """
    exclusive = sum(one.exclusive for one in donors)
    whole = counted(eligible, "eligible vector")
    parts = [f"of {whole} {exclusive} {by_count(exclusive, 'is', 'are')} exclusive"]
    parts.append(f"{len(donors) - exclusive} shared")
    busy = [f"vector {one.vector} by {one.load}" for one in donors if one.load and not one.exclusive]
    if busy:
        parts[-1] += f" ({', '.join(busy)} slots)"
    if taken:
        parts.append(f"{len(taken)} the application's ({', '.join(map(str, taken))})")
    parts += [f"vector {vector} does not fit: {why}" for vector, why in unfit.items()]
    return ", ".join(parts)


def name_slots(slots: Sequence[int]) -> str:
    """A few of ``slots`` by number, and how many there are."""
    if len(slots) == 1:
        return f"slot {slots[0]}"
    more = f" and {len(slots) - _NAMED} more" if len(slots) > _NAMED else ""
    return f"{counted(len(slots), 'slot')} ({', '.join(map(str, slots[:_NAMED]))}{more})"

# SPDX-License-Identifier: Apache-2.0
"""A fault as its user writes it: what goes wrong, and when. ``fail:set_irqs:EBUSY@2``: the second SET_IRQS is EBUSY."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from typing import NoReturn

from vfio_ims.errors import UsageError, explain_unknown
from vfio_ims.faults.kinds import KINDS, VERBS, Kind
from vfio_ims.faults.moment import Moment

__all__ = ["Fault", "parse_faults"]


@dataclass(frozen=True)
class Fault:
    """One fault. ``kind`` is one of ``KINDS``; the other words are what it takes; ``moment`` is when it happens.

    ``target``: a verb, or a register by its declared name. ``number``: an errno, a value or mask of bits, bytes.
    ``seconds``: how late, how slow.
    """

    kind: str
    target: str = ""
    number: int = 0
    seconds: float = 0.0
    moment: Moment = field(default_factory=Moment)
    text: str = ""

    @classmethod
    def parse(cls, text: str) -> Fault:
        """A fault from its text. UsageError says what is wrong, and what may be there."""
        head, *moments = text.split("@")
        name, *arguments = head.split(":")
        if not name:
            _refuse(text, f"what goes wrong comes first, then when: {', '.join(sorted(KINDS))}")
        if name not in KINDS:
            _refuse(text, explain_unknown("a fault", name, KINDS))
        kind = KINDS[name]
        if not kind.fewest <= len(arguments) <= len(kind.arguments):
            _refuse(text, f"it is written {kind.usage}")
        try:
            given = dict(_argument(kind, place, word) for place, word in enumerate(arguments))
            moment = Moment.parse(moments, lasting=kind.lasting)
            _check_occasion(kind, moment)
        except UsageError as error:
            _refuse(text, error.why)
        return cls(name, moment=moment, text=text, **{**kind.defaults, **given})

    def __str__(self) -> str:
        return self.text or self.kind


def parse_faults(text: str) -> list[Fault]:
    """Several faults, joined by +, where a device's name takes them: ``fault=drop@3+req@call=set_irqs``."""
    parts: list[str] = []
    for part in text.split("+"):
        # A + also says "from then on" (3+) and "beyond a BAR's start" (bar0+0x10): what follows is no fault's name.
        if parts and part.partition(":")[0].partition("@")[0] not in KINDS:
            parts[-1] += "+" + part
        else:
            parts.append(part)
    return [Fault.parse(part) for part in parts]


def _check_occasion(kind: Kind, moment: Moment) -> None:
    """UsageError where the fault never meets what its moment waits for."""
    how = moment.on[0] if moment.on is not None else ""
    if kind.edge in ("message", "dma") and how in ("read", "write"):
        why = f"@{how}=REGISTER is an access, and this fault is of what the device sends: @N counts that"
        raise UsageError("", why=why)
    if kind.edge == "register" and how == "write":
        raise UsageError("", why="@write=REGISTER is a write, and this fault is of what reads give: @N counts those")


def _refuse(text: str, why: str) -> NoReturn:
    raise UsageError(f"read the fault {text!r}", why=why, hint="docs/faults.md has every fault, with examples")


def _argument(kind: Kind, place: int, word: str) -> tuple[str, str | int | float]:
    """The field that an argument sets, and its value."""
    what = kind.arguments[place]
    if what == "SECONDS":
        try:
            seconds = float(word)
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds < 3600:
            raise UsageError("", why=f"SECONDS must be a number from 0 to below 3600, not {word!r}")
        return "seconds", seconds
    if what == "ERRNO":
        code = getattr(errno, word, None)
        if not word.startswith("E") or not isinstance(code, int):
            raise UsageError("", why=f"ERRNO must be a name such as EBUSY or ENODEV, not {word!r}")
        return "number", code
    if what == "VERB":
        verb = VERBS.get(word, word)
        if verb not in VERBS.values():
            raise UsageError("", why=explain_unknown("VERB", word, VERBS))
        return "target", verb
    if what == "REGISTER":
        return "target", word
    try:
        number = int(word, 0)
    except ValueError:
        number = -1
    if number < 0:
        raise UsageError("", why=f"{what} must be a number such as 3 or 0x8000, not {word!r}")
    return "number", number

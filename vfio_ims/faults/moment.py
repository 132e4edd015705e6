# SPDX-License-Identifier: Apache-2.0
"""When a fault happens: at which of the occasions it waits for, after which access, after how long, how often."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from vfio_ims.errors import UsageError
from vfio_ims.faults.kinds import VERBS

__all__ = ["Moment", "Occasion", "Waiting"]


@dataclass(frozen=True)
class Occasion:
    """What just happens: the verb, and of an access the register, by name and by place."""

    verb: str
    register: str = ""
    write: bool = False

    def __str__(self) -> str:
        return f"{self.verb} {self.register}".rstrip()


@dataclass(frozen=True)
class Moment:
    """``first``: at which occasion, from 1. ``onwards``: and at each after it.

    ``on``: only at occasions ("read", NAME), ("write", NAME) or ("call", VERB). ``after``: not before so many seconds
    since the injection. ``chance``: at each occasion with this probability, by ``seed``.
    """

    first: int = 1
    onwards: bool = False
    on: tuple[str, str] | None = None
    after: float = 0.0
    chance: float | None = None
    seed: int = 0

    @classmethod
    def parse(cls, parts: Sequence[str], *, lasting: bool = False) -> Moment:
        """UsageError names the part that is none."""
        given: dict[str, Any] = {}
        for part in parts:
            key, equals, value = part.partition("=")
            try:
                if not equals:
                    given |= {"first": _positive(part.removesuffix("+")), "onwards": part.endswith("+")}
                elif key in ("read", "write", "call") and value:
                    given["on"] = key, VERBS.get(value, value) if key == "call" else value
                    if key == "call" and given["on"] not in {("call", verb) for verb in VERBS.values()}:
                        raise ValueError
                elif key == "after":
                    given["after"] = float(value)
                elif key == "p":
                    given["chance"] = float(value)
                    if not 0 < float(value) <= 1:
                        raise ValueError
                elif key == "seed":
                    given["seed"] = int(value, 0)
                else:
                    raise ValueError
            except ValueError:
                why = (
                    f"@{part} is no moment: it is one of @N (the N-th time), @N+ (from then on), @read=REGISTER, "
                    "@write=REGISTER, @call=VERB, @after=SECONDS, @p=CHANCE, @seed=NUMBER"
                )
                raise UsageError("read a fault", why=why) from None
        if "chance" in given and "first" not in given:
            given["onwards"] = True
        return cls(**{"onwards": lasting, **given})


def _positive(text: str) -> int:
    number = int(text, 0)
    if number < 1:
        raise ValueError
    return number


class Waiting:
    """A moment that is waited for: ``comes`` is asked at each occasion."""

    def __init__(self, moment: Moment, began: float) -> None:
        self._moment, self._began, self._on = moment, began, moment.on
        self._toss = random.Random(moment.seed)
        self.seen = 0

    def name_register(self, named: Callable[[str], str]) -> None:
        """Where it waits for an access: by the name that accesses have. UsageError where there is no such register."""
        if self._on is not None and self._on[0] != "call":
            self._on = self._on[0], named(self._on[1])

    def comes(self, occasion: Occasion, now: float) -> bool:
        """Whether the fault happens now. Counts the occasion where it is one that is waited for."""
        moment = self._moment
        if self._on is not None:
            how, name = self._on
            if how == "call":
                if name not in (occasion.verb, "any"):
                    return False
            elif name != occasion.register or (how == "write") != occasion.write:
                return False
        if now < self._began + moment.after:
            return False
        self.seen += 1
        if moment.chance is not None and self._toss.random() >= moment.chance:
            return False
        return self.seen >= moment.first if moment.onwards else self.seen == moment.first

# SPDX-License-Identifier: Apache-2.0
"""What was learned of a device that no document says: structured, and as text."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from vfio_ims.counted import counted

__all__ = ["Characteristics", "ControlWord", "Survival", "Trial"]


@dataclass(frozen=True, slots=True)
class ControlWord:
    """The control word of an entry. ``reset``: its value after the function's reset, and which slots have it.

    ``writable``: bits that take 0 and 1; ``ones``: bits that read 1 whatever is written. ``alike``: so in all of the
    ``probed`` slots.
    """

    probed: tuple[int, ...]
    writable: int
    ones: int
    alike: bool
    reset: tuple[tuple[int, tuple[str, ...]], ...] = ()

    def to_json(self) -> dict[str, object]:
        """Plain values for the JSON report."""
        return {
            "probed": list(self.probed),
            "writable": self.writable,
            "always_one": self.ones,
            "alike": self.alike,
            "reset_values": [{"value": value, "slots": list(slots)} for value, slots in self.reset],
        }


@dataclass(frozen=True, slots=True)
class Survival:
    """What a masked entry is after ``way``: None where it could not be tried, for the reason in ``text``."""

    way: str
    message: bool | None
    """Whether the message is still there."""
    masked: bool | None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Trial:
    """One fire under a condition. ``raised``: whether the interrupt came; None where it could not be tried."""

    condition: str
    raised: bool | None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Characteristics:
    """Everything that ``characterise`` found out. ``notes``: what could not be looked at, and why."""

    device: str
    driver: str
    mount: str
    slots: int
    control: ControlWord | None
    survivals: tuple[Survival, ...]
    trials: tuple[Trial, ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """Plain values only."""
        return {
            "schema": 1,
            "kind": "characteristics",
            "device": self.device,
            "driver": self.driver,
            "mount": self.mount,
            "slots": self.slots,
            "control_word": None if self.control is None else self.control.to_json(),
            "survivals": [asdict(each) for each in self.survivals],
            "trials": [asdict(each) for each in self.trials],
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        lines = [f"{self.device} ({self.driver}, {self.mount}), {counted(self.slots, 'slot')}"]
        if self.control is not None:
            word = self.control
            where = "slots " + ", ".join(map(str, word.probed)) + ("" if word.alike else ", which differ")
            lines.append(f"control word ({where}): writable {word.writable:#010x}, always one {word.ones:#010x}")
            lines += [f"  after the function's reset {value:#010x}: {', '.join(slots)}" for value, slots in word.reset]
        for way in self.survivals:
            state = f"message {_word(way.message, 'kept', 'gone')}, mask {_word(way.masked, 'set', 'clear')}"
            lines.append(f"{way.way}: {state}" + (f" ({way.text})" if way.text else ""))
        for trial in self.trials:
            outcome = _word(trial.raised, "interrupt", "no interrupt")
            lines.append(f"{trial.condition}: {outcome}" + (f" ({trial.text})" if trial.text else ""))
        return "\n".join([*lines, *self.notes])


def _word(answer: bool | None, yes: str, no: str) -> str:
    return "not tried" if answer is None else yes if answer else no

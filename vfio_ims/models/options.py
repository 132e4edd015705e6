# SPDX-License-Identifier: Apache-2.0
"""Options of a model, as given after commas in its name: ``mock:intel-dsa,slots=64,defect=drops``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vfio_ims.errors import UsageError, explain_unknown

__all__ = ["Option", "Value", "parse_options"]

Value = str | int | bool

_YES, _NO = ("yes", "on", "true", "1", ""), ("no", "off", "false", "0")


@dataclass(frozen=True, slots=True)
class Option:
    """A knob: its default (whose type it has), what it does, and its choices where they are few."""

    default: Value
    doc: str
    choices: tuple[str, ...] = ()

    def parse(self, name: str, text: Value) -> Value:
        """``text`` as this option's type; UsageError says what it must be."""
        if isinstance(self.default, bool):
            word = str(text).lower()
            if word in _YES or word in _NO:
                return word in _YES
            why = f"{name} must be yes or no, not {text!r}"
        elif isinstance(self.default, int):
            try:
                return int(str(text), 0)
            except ValueError:
                why = f"{name} must be a number, not {text!r}"
        else:
            if not self.choices or text in self.choices:
                return text
            why = explain_unknown(name, text, self.choices)
        raise UsageError("set a model's options", why=why)


def parse_options(options: Mapping[str, Option], given: Mapping[str, Value]) -> dict[str, Value]:
    """Every option with its value; an unknown name or a bad value raises UsageError."""
    for name in given:
        if name not in options:
            raise UsageError("set a model's options", why=explain_unknown("option", name, options))
    return {name: option.parse(name, given.get(name, option.default)) for name, option in options.items()}

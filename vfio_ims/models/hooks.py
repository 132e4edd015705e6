# SPDX-License-Identifier: Apache-2.0
"""Which method of a model answers or follows an access to which register."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from vfio_ims.registers import Register

__all__ = ["collect", "on_read", "on_write"]

F = TypeVar("F", bound=Callable[..., Any])


def on_write(*registers: Register) -> Callable[[F], F]:
    """Run the method after a write to one of ``registers`` was answered.

    It is called as ``method(value)``, as ``method(row, value)`` for a register of a repeated block. The value is what
    was written, not what the register kept of it.
    """
    return _marker("_after_write", registers)


def on_read(*registers: Register) -> Callable[[F], F]:
    """Run the method before a read of one of ``registers`` is answered, to bring it up to date: ``method([row])``."""
    return _marker("_before_read", registers)


def _marker(mark: str, registers: tuple[Register, ...]) -> Callable[[F], F]:
    def apply(method: F) -> F:
        method.__dict__.setdefault(mark, []).extend(registers)
        return method

    return apply


def collect(model: object, mark: str) -> dict[Register, Callable[..., None]]:
    """The methods of ``model`` by the register they are marked with."""
    found: dict[Register, Callable[..., None]] = {}
    for name in dir(type(model)):
        for register in getattr(getattr(type(model), name), mark, ()):
            found[register] = getattr(model, name)
    return found

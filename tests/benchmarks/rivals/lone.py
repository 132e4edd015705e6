# SPDX-License-Identifier: Apache-2.0
"""How edaelli/lone, an NVMe driver in Python, does its work: our rendering of the ways that it published (2024-08).

Registers are a ctypes structure laid over the mapped BAR, fields are its bit fields. A command is a ctypes structure
that is copied into the queue's memory, then the tail's doorbell is written through a ctypes integer. Completions are
structures over the queue's memory. A vector has its own eventfd, and each is read in turn.
"""

from __future__ import annotations

import ctypes
import os
import time
from typing import Any

__all__ = ["Command", "Device", "Record", "Registers", "pending"]


class Control(ctypes.Structure):
    """A register with fields."""

    _pack_ = 1
    _layout_ = "ms"
    _fields_ = [("EN", ctypes.c_uint32, 1), ("RSVD", ctypes.c_uint32, 3), ("SIZE", ctypes.c_uint32, 28)]


class Registers(ctypes.Structure):
    """The BAR: a register without fields, and one with."""

    _pack_ = 1
    _layout_ = "ms"
    _fields_ = [("VALUE", ctypes.c_uint32), ("CC", Control)]


class Command(ctypes.Structure):
    """A copy descriptor of DSA, as lone declares NVMe's commands."""

    _pack_ = 1
    _layout_ = "ms"
    _fields_ = [
        ("WHO", ctypes.c_uint32),
        ("WHAT", ctypes.c_uint32),
        ("RECORD", ctypes.c_uint64),
        ("SOURCE", ctypes.c_uint64),
        ("DESTINATION", ctypes.c_uint64),
        ("SIZE", ctypes.c_uint32),
        ("HANDLE", ctypes.c_uint16),
        ("RSVD", ctypes.c_uint8 * 26),
    ]


class Record(ctypes.Structure):
    """A completion record of DSA, likewise."""

    _pack_ = 1
    _layout_ = "ms"
    _fields_ = [("STATUS", ctypes.c_uint8), ("REST", ctypes.c_uint8 * 31)]


class Index:
    """Head or tail of a queue of so many entries, in memory or in a doorbell."""

    def __init__(self, entries: int, address: int) -> None:
        self.entries, self._number = entries, ctypes.c_uint32.from_address(address)

    @property
    def value(self) -> int:
        return self._number.value

    def set(self, value: int) -> None:
        self._number.value = value

    def next(self) -> int:
        after = self._number.value + 1
        return 0 if after == self.entries else after


class Device:
    """A submission queue at ``base`` whose tail is the doorbell at ``doorbell``, and records at ``records``."""

    def __init__(self, base: int, doorbell: int, entries: int, records: int) -> None:
        self._base, self._records, self._entries = base, records, entries
        self._own_head = ctypes.c_uint32(0)
        self._head = Index(entries, ctypes.addressof(self._own_head))
        self._tail = Index(entries, doorbell)
        self.outstanding: dict[int, tuple[Any, int]] = {}
        self._id = 0
        self._taken = 0

    def forget(self) -> None:
        """As if everything had been done."""
        self._head.set(0)
        self._tail.set(0)
        self.outstanding.clear()
        self._id = self._taken = 0

    def post(self, command: Any) -> None:
        """One command."""
        number = self._id
        self._id += 1
        assert self._tail.next() != self._head.value, "the queue is full"
        at = self._base + self._tail.value * 64
        ctypes.memmove(at, ctypes.addressof(command), 64)
        self._tail.set(self._tail.next())
        self.outstanding[number] = command, time.perf_counter_ns()

    def complete(self) -> bool:
        """The next completion, where it is there."""
        record = Record.from_address(self._records + self._taken * 32)
        if not record.STATUS:
            return False
        command, began = self.outstanding[self._taken]
        command.took = time.perf_counter_ns() - began
        kept = Record()
        ctypes.memmove(ctypes.addressof(kept), ctypes.addressof(record), 32)
        command.record = kept
        del self.outstanding[self._taken]
        self._taken += 1
        self._head.set(self._taken % self._entries)
        return True


def pending(eventfds: list[int]) -> int:
    """How many of the vectors have events: each eventfd is read."""
    found = 0
    for eventfd in eventfds:
        try:
            count = int.from_bytes(os.read(eventfd, 8), "little")
        except BlockingIOError:
            count = 0
        found += count > 0
    return found

# SPDX-License-Identifier: Apache-2.0
"""64-byte stores to a portal: in pieces, many at once, by one instruction."""

from __future__ import annotations

import pytest

from tests.native.conftest import PAGE
from tests.native.window.below import written
from vfio_ims.errors import UnsupportedError, UsageError
from vfio_ims.native.cpu import has_store64
from vfio_ims.native.window import MappedWindow


def test_a_portal_store_in_pieces(window: MappedWindow, memory: int) -> None:
    window.store64(PAGE, bytes(range(64)), pieces=True)
    assert written(memory, PAGE, 64) == bytes(range(64))
    for bad in (lambda: window.store64(32, bytes(64), pieces=True), lambda: window.store64(0, bytes(63), pieces=True)):
        with pytest.raises(UsageError):
            bad()


def test_many_descriptors_go_round_the_portal(window: MappedWindow, memory: int) -> None:
    slots = PAGE // 64
    data = b"".join(bytes([i % 256]) * 64 for i in range(slots + 3))
    window.store64_many(PAGE, data, slots + 3, span=PAGE, pieces=True)
    portal = written(memory, PAGE, PAGE)
    assert [portal[64 * i] for i in range(5)] == [(slots + i) % 256 for i in range(3)] + [3, 4]
    assert portal[-1] == (slots - 1) % 256
    window.store64_many(0, bytes([9]) * 64 + bytes([8]) * 64, 2, stride=0, pieces=True)
    assert written(memory, 0, 128) == bytes([8]) * 64 + bytes(64), "stride 0: one place"
    with pytest.raises(UsageError):
        window.store64_many(0, data, slots + 3, stride=96, pieces=True)
    with pytest.raises(UsageError):
        window.store64_many(2 * PAGE - 64, bytes(128), 2, pieces=True)


def test_one_64_byte_store_needs_the_instruction(window: MappedWindow, memory: int) -> None:
    if has_store64():
        window.store64(0, bytes(range(64)))
        assert written(memory, 0, 64) == bytes(range(64))
        return
    with pytest.raises(UnsupportedError, match="MOVDIR64B on x86, ST64B on arm64"):
        window.store64(0, bytes(range(64)))
    assert written(memory, 0, 64) == bytes(64)


def test_enqcmd_is_refused_with_its_reason(window: MappedWindow) -> None:
    with pytest.raises(UnsupportedError, match="kills the process"):
        window.enqueue64(0, bytes(64))

# SPDX-License-Identifier: Apache-2.0
"""Messages in flight together merge, as a vector has one pending bit: always, sometimes, or never."""

from __future__ import annotations

import os
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vfio_ims.errors import UsageError
from vfio_ims.platform import Platform
from vfio_ims.platform.vectors import Vector, merging


def drained(fd: int) -> int:
    try:
        return os.eventfd_read(fd)
    except BlockingIOError:
        return 0


def listen(signal_mode: Literal["always", "random", "never"], fd: int, seed: int = 1) -> Vector:
    vector = Vector(merging(signal_mode, seed))
    vector.listen(os.dup(fd))
    return vector


def test_always_unread_messages_are_one(fds: list[int]) -> None:
    vector = listen("always", fds[0])
    for _ in range(64):
        vector.deliver()
    assert drained(fds[0]) == 1
    assert (vector.arrived, vector.counted) == (64, 1)
    vector.deliver()
    assert drained(fds[0]) == 1
    vector.silence()


def test_never_every_message_counts(fds: list[int]) -> None:
    vector = listen("never", fds[0])
    for _ in range(64):
        vector.deliver()
    assert drained(fds[0]) == 64
    vector.silence()


def test_random_is_in_between_and_repeats_with_its_seed(fds: list[int]) -> None:
    sums = []
    for seed in (7, 7, 8):
        vector = listen("random", fds[0], seed)
        for _ in range(64):
            vector.deliver()
        sums.append(drained(fds[0]))
        vector.silence()
    assert sums[0] == sums[1]
    assert all(1 < total < 64 for total in sums)


@settings(max_examples=40, deadline=None)
@given(
    mode=st.sampled_from(["always", "random", "never"]),
    steps=st.lists(st.sampled_from("fffr"), max_size=40),
    seed=st.integers(0, 9),
)
def test_counts_never_exceed_fires_and_a_fire_is_never_unseen(
    mode: Literal["always", "random", "never"], steps: list[str], seed: int
) -> None:
    fd = os.eventfd(0, os.EFD_NONBLOCK)
    vector = listen(mode, fd, seed)
    seen, unread = 0, 0
    for step in steps:
        if step == "f":
            vector.deliver()
            unread += 1
        else:
            got = drained(fd)
            assert (got > 0) == (unread > 0)
            assert got <= unread
            seen, unread = seen + got, 0
    seen += drained(fd)
    assert seen == vector.counted <= vector.arrived == steps.count("f")
    vector.silence()
    os.close(fd)


def test_without_a_listener(fds: list[int]) -> None:
    vector = Vector(merging("always"))
    vector.deliver()
    assert vector.counted == 0


def test_a_full_count_neither_blocks_nor_fails(fds: list[int]) -> None:
    vector = listen("never", fds[0])
    os.eventfd_write(fds[0], 2**64 - 2)
    vector.deliver()
    assert drained(fds[0]) == 2**64 - 2
    vector.silence()


def test_an_unknown_mode() -> None:
    with pytest.raises(UsageError, match="always, random or never"):
        Platform(merge="sometimes")  # type: ignore[arg-type]

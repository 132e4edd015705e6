# SPDX-License-Identifier: Apache-2.0
"""Lists of any shape, both ways, in every map: the data against plain Python, on both mounts."""

from __future__ import annotations

import asyncio
import threading
from array import array
from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.synopsys_edma.conftest import MAPS, Opener
from vfio_ims.dma import Buffer
from vfio_ims.drivers.synopsys_edma.driver import Channel, Edma
from vfio_ims.drivers.synopsys_edma.driver.window import DataWindow
from vfio_ims.drivers.synopsys_edma.hardware.elements import Elements
from vfio_ims.errors import UsageError

HOST, INSIDE = 1 << 14, 0x800


@pytest.fixture(scope="module")
def host(shared: Edma) -> Buffer:
    return shared.device.dma.allocate(HOST)


@dataclass
class Oracle:
    """Both memories as plain bytearrays; a list is carried out element by element, in order."""

    host: bytearray
    inside: bytearray

    @classmethod
    def fresh(cls, host: Buffer, window: DataWindow, seed: int) -> Oracle:
        random = Random(seed)
        made = cls(bytearray(random.randbytes(HOST)), bytearray(random.randbytes(INSIDE)))
        host.view[:] = made.host
        window.write(0, made.inside)
        return made

    def carry_out(self, moves: list[tuple[int, int, int]], *, write: bool) -> None:
        """``moves``: offsets in the device's memory and in the host's, and a size."""
        for inside, outside, size in moves:
            if write:
                self.host[outside : outside + size] = self.inside[inside : inside + size]
            else:
                self.inside[inside : inside + size] = self.host[outside : outside + size]

    def check(self, host: Buffer, window: DataWindow) -> None:
        assert bytes(host.view) == self.host
        assert window.read(0, INSIDE) == self.inside


def columns(
    moves: list[tuple[int, int, int]], host: Buffer, window: DataWindow, *, write: bool
) -> tuple[array[int], array[int], array[int]]:
    inside = array("Q", [window.address + at for at, _, _ in moves])
    outside = array("Q", [host.iova + at for _, at, _ in moves])
    sizes = array("I", [size for _, _, size in moves])
    return (inside, outside, sizes) if write else (outside, inside, sizes)


def take(edma: Edma, way: str, completion: str) -> Channel:
    return (edma.write_channel if way == "write" else edma.read_channel)(1, completion=completion)


move = st.tuples(st.integers(0, INSIDE - 1), st.integers(0, HOST - 1), st.integers(1, 300)).map(
    lambda m: (m[0], m[1], min(m[2], INSIDE - m[0], HOST - m[1]))
)
lists = st.lists(st.lists(move, min_size=1, max_size=120), min_size=1, max_size=4)


@settings(max_examples=12, deadline=None)
@given(lists, st.sampled_from(("write", "read")), st.sampled_from(("ims", "poll")), st.integers(0, 1 << 16))
def test_lists_of_any_shape(
    shared: Edma, host: Buffer, parts: list[list[tuple[int, int, int]]], way: str, completion: str, seed: int
) -> None:
    """Several lists, each appended to what is under way: more than the channel's memory holds, around its end."""
    write = way == "write"
    with take(shared, way, completion) as channel:
        window = shared.window(channel)
        oracle = Oracle.fresh(host, window, seed)
        transfers = []
        for moves in parts:
            transfers.append(channel.start(*columns(moves, host, window, write=write)))
            oracle.carry_out(moves, write=write)
        transfers[-1].wait()
        assert all(transfer.done() for transfer in transfers)
        oracle.check(host, window)


@pytest.mark.parametrize("count", [1, 82, 83, 84, 85, 166, 167, 200, 1000])
@pytest.mark.parametrize("way", ["write", "read"])
def test_as_many_elements_as_memory_holds_and_more(shared: Edma, host: Buffer, count: int, way: str) -> None:
    random = Random(count)
    with take(shared, way, "ims") as channel:
        window = shared.window(channel)
        oracle = Oracle.fresh(host, window, count)
        moves = [(random.randrange(INSIDE - 16), random.randrange(HOST - 16), 16) for _ in range(count)]
        channel.start(*columns(moves, host, window, write=way == "write")).wait()
        oracle.carry_out(moves, write=way == "write")
        oracle.check(host, window)


def test_a_list_made_once_and_started_again_and_again(shared: Edma, host: Buffer) -> None:
    with shared.write_channel(0) as channel:
        window = shared.window(channel)
        elements = Elements([window.address] * 50, [host.iova + 16 * n for n in range(50)], 16)
        for number in range(5):
            window.write(0, bytes([number + 1]) * 16)
            channel.submit(elements).wait()
            assert bytes(host.view[:800]) == bytes([number + 1]) * 800


def test_tasks_wait_for_lists_of_several_channels(shared: Edma, host: Buffer) -> None:
    with shared.write_channel(0) as out, shared.read_channel(0, completion="poll") as into:
        outside, inside = shared.window(out), shared.window(into)
        outside.write(0, b"\x11" * 64)
        host.view[4096:4160] = b"\x22" * 64

        async def both() -> None:
            async def one(channel: Channel, source: int, target: int) -> None:
                for _ in range(5):
                    await channel.start([source + 4 * n for n in range(16)], [target + 4 * n for n in range(16)], 4)

            await asyncio.gather(one(out, outside.address, host.iova), one(into, host.iova + 4096, inside.address))

        asyncio.run(asyncio.wait_for(both(), 60))
        assert bytes(host.view[:64]) == b"\x11" * 64
        assert inside.read(0, 64) == b"\x22" * 64


def test_tasks_that_await_one_channel_are_all_resumed(shared: Edma, host: Buffer) -> None:
    with shared.write_channel(0) as channel:
        window = shared.window(channel)

        async def several() -> None:
            async def one(number: int) -> None:
                await channel.start([window.address], [host.iova + 4 * number], 4)

            await asyncio.gather(*(one(number) for number in range(20)))

        window.write(0, b"abcd")
        asyncio.run(asyncio.wait_for(several(), 60))
        assert bytes(host.view[:80]) == b"abcd" * 20


@pytest.mark.parametrize("name", MAPS)
def test_every_channel_at_once_from_threads(opened: Opener, name: str) -> None:
    """In the legacy map all share one viewport: what one thread selects must not be another's."""
    kind, _, options = name.partition(",")
    edma = opened(options, kind)
    host = edma.device.dma.allocate(1 << 16)
    channels = [edma.write_channel(n) for n in range(2)] + [edma.read_channel(n) for n in range(2)]
    failures: list[BaseException] = []

    def work(place: int, channel: Channel) -> None:
        try:
            write, window, base = place < 2, edma.window(channel), 0x4000 * place
            for turn in range(15):
                data = bytes([16 * place + turn]) * 0x100
                inside, outside = window.address, host.iova + base
                if write:
                    window.write(0, data)
                else:
                    host.view[base : base + 0x100] = data
                channel.copy(*((inside, outside) if write else (outside, inside)), 0x100, timeout=30)
                found = bytes(host.view[base : base + 0x100]) if write else window.read(0, 0x100)
                assert found == data, f"channel {place}, turn {turn}"
        except BaseException as failure:  # noqa: BLE001 - raised below, in the test's thread
            failures.append(failure)

    threads = [threading.Thread(target=work, args=pair) for pair in enumerate(channels)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures[0]


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        (([1, 2], [3], 4), "as many of each"),
        (([], [], 4), "one at least"),
        (([1], [2], 0), "1 byte or more"),
        (([1], [2], [0]), "1 byte or more, not 0"),
        (([-1], [2], 4), "numbers of 64 bits"),
        (([1], [2], 1 << 32), "fit 32 bits"),
        ((["x"], [2], 4), "numbers of 64 bits"),
    ],
)
def test_a_list_that_cannot_be_is_refused(opened: Opener, columns: tuple[list[int], list[int], int], why: str) -> None:
    with opened().write_channel() as channel, pytest.raises(UsageError, match=why):
        channel.start(*columns)

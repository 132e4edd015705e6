# SPDX-License-Identifier: Apache-2.0
"""The same on every mount: in process, over a socket to a model in another process, and on what ``--vfio-device`` names

(silicon, or the model in QEMU under a kernel): ``pytest tests/synopsys_edma/test_mounts.py --vfio-device 0000:1:0.0``.
"""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from vfio_ims.driver import Driver
from vfio_ims.drivers.synopsys_edma.driver import Edma, TransferAborted
from vfio_ims.selftest import Options, run

pytestmark = pytest.mark.vfio(
    model=("synopsys-edma", "synopsys-edma,map=legacy", "amd-hdma"),
    mount=("mock", "vfio-user"),
    match=("16c3:", "10ee:"),
)
NOWHERE = 0x7000_0000_0000
TIMEOUT = 60.0


@pytest.fixture
def edma(ims_driver: Driver) -> Edma:
    assert isinstance(ims_driver, Edma)
    return ims_driver


def test_the_self_test(edma: Edma) -> None:
    report = run(edma, options=Options(timeout=10))
    assert report.passed, str(report)


@pytest.mark.parametrize("completion", ["ims", "poll"])
def test_lists_both_ways(edma: Edma, completion: str) -> None:
    random = Random(completion)
    host = edma.device.dma.allocate(1 << 14)
    with edma.write_channel(1, completion=completion) as out, edma.read_channel(0, completion=completion) as into:
        outside, inside = edma.window(out), edma.window(into)
        for count in (1, 84, 200):
            data = random.randbytes(8 * count)
            outside.write(0, data)
            host.view[: 16 * count] = bytes(16 * count)
            sources = [outside.address + 8 * n for n in range(count)]
            out.start(sources, [host.iova + 16 * n for n in range(count)], 8).wait(TIMEOUT)
            assert bytes(host.view[: 16 * count]) == b"".join(data[8 * n : 8 * n + 8] + bytes(8) for n in range(count))
            into.start(
                [host.iova + 16 * n for n in range(count)], [inside.address + 8 * n for n in range(count)], 8
            ).wait(TIMEOUT)
            assert inside.read(0, 8 * count) == data


def test_tasks_append_to_what_runs(edma: Edma) -> None:
    host = edma.device.dma.allocate(4096)
    with edma.write_channel() as channel:
        window = edma.window(channel)
        window.write(0, bytes(range(64)))

        async def main() -> None:
            async def one(number: int) -> None:
                await channel.start([window.address + 4 * number], [host.iova + 4 * number], 4)

            await asyncio.gather(*(one(number) for number in range(16)))

        asyncio.run(asyncio.wait_for(main(), TIMEOUT))
    assert bytes(host.view[:64]) == bytes(range(64))


def test_an_abort_and_a_reset(edma: Edma) -> None:
    host = edma.device.dma.allocate(4096)
    with edma.read_channel() as channel:
        window = edma.window(channel)
        with pytest.raises(TransferAborted):
            channel.copy(NOWHERE, window.address, 64, TIMEOUT)
        edma.reset()
        host.view[:4] = b"good"
        channel.copy(host.iova, window.address, 4, TIMEOUT)
        assert window.read(0, 4) == b"good"

# SPDX-License-Identifier: Apache-2.0
"""QEMU's edu as a DMA engine: it copies between memory and a buffer of its own (QEMU's docs/specs/edu.rst)."""

from __future__ import annotations

from vfio_ims.device import Device

__all__ = ["carry", "prepare"]

_OWN = 0x4_0000
_SOURCE, _TARGET, _COUNT, _COMMAND = 0x80, 0x88, 0x90, 0x98
_RUN, _TO_MEMORY = 1, 2


def prepare(device: Device) -> Device:
    """Let it decode its registers and make requests."""
    device.config.memory = device.config.bus_master = True
    return device


def carry(device: Device, source: int, target: int, count: int) -> None:
    """Have it read ``count`` bytes at address ``source`` and write them to address ``target``."""
    bar = device.bar(0)
    for start, end, command in ((source, _OWN, _RUN), (_OWN, target, _RUN | _TO_MEMORY)):
        bar.write64(_SOURCE, start)
        bar.write64(_TARGET, end)
        bar.write64(_COUNT, count)
        bar.write32(_COMMAND, command)
        assert not bar.poll(_COMMAND, 4, _RUN, 0, 60) & _RUN, "it did not end"

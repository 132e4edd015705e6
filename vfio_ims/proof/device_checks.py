# SPDX-License-Identifier: Apache-2.0
"""What is tried on an open device beside its self-test: each returns what it saw, or raises ``Fails``."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from vfio_ims.counted import counted
from vfio_ims.errors import UnsupportedError
from vfio_ims.host.resetting import Before, verify
from vfio_ims.ports.values import IrqIndex
from vfio_ims.proof.stage_log import Fails, NotApplicable

if TYPE_CHECKING:
    from vfio_ims.device import Device
    from vfio_ims.driver import Driver
    from vfio_ims.interrupts import VectorInterrupt

__all__ = ["dma", "loopback", "opened", "own_msix", "reset"]

_MOST_VECTORS = 64
_WORDS = 8
_PATTERN = bytes(range(1, 256))


def opened(device: Device) -> str:
    """It answers, and cannot reach memory yet."""
    header = device.config.header
    if header.vendor == 0xFFFF:
        raise Fails("its vendor id reads as all ones", "vfio-ims doctor DEVICE")
    if device.config.bus_master:
        raise Fails("bus mastering is on though it was only just opened")
    return f"{device.mount}: {header.vendor:04x}:{header.device:04x}, bus mastering off"


def loopback(device: Device, timeout: float) -> str:
    """The kernel signals each vector's descriptor: no part of the device is needed for that."""
    kinds = {IrqIndex.MSIX: "MSI-X", IrqIndex.MSI: "MSI", IrqIndex.INTX: "INTx"}
    interrupts = device.interrupts
    kind = next((one for one in kinds if interrupts.info(one).count), None)
    if kind is None:
        raise NotApplicable("it has no interrupt")
    count = min(interrupts.info(kind).count, _MOST_VECTORS)
    with ExitStack() as stack:
        vectors: list[VectorInterrupt]
        if kind is IrqIndex.MSIX:
            vectors = [stack.enter_context(interrupts.open_msix(vector)) for vector in range(count)]
        else:
            given = interrupts.open_msi(count) if kind is IrqIndex.MSI else [interrupts.open_intx()]
            vectors = [stack.enter_context(one) for one in given]
        silent = [str(one.vector) for one in vectors if not _triggered(one, vectors, timeout)]
    if silent:
        why = f"no event on {kinds[kind]} vector {', '.join(silent)} in {timeout:g} s, or one on another"
        raise Fails(why, "no device is involved in this: the host's VFIO, then its kernel log")
    return f"{counted(count, f'{kinds[kind]} vector')}, each signalled by the kernel, and no other with it"


def _triggered(vector: VectorInterrupt, every: list[VectorInterrupt], timeout: float) -> bool:
    before = {one.vector: one.count for one in every if one is not vector}
    vector.trigger()
    return vector.wait(timeout) and all(one.count == before[one.vector] for one in every if one is not vector)


def own_msix(driver: Driver, timeout: float) -> str:
    """The device raises each vector that no part of its driver has, through its own MSI-X table."""
    interrupts = driver.device.interrupts
    reserved = set(driver.reserved_vectors)
    vectors = [one for one in range(min(interrupts.msix.count, _MOST_VECTORS)) if one not in reserved]
    if not vectors:
        raise NotApplicable("it has no MSI-X vector beside those that its driver has")
    received = []
    for number in vectors:
        with interrupts.open_msix(number) as vector:
            try:
                driver.fire_vector(number)
            except UnsupportedError as error:
                raise NotApplicable(error.why) from error
            if vector.wait(timeout):
                received.append(number)
    silent = [str(one) for one in vectors if one not in received]
    if silent:
        hint = "the device's error registers, then the host's log: dmesg | grep -E 'DMAR|AMD-Vi|vfio'"
        raise Fails(f"no event on vector {', '.join(silent)} in {timeout:g} s", hint)
    return f"{counted(len(received), 'vector')} raised by the device, each received"


def dma(driver: Driver, timeout: float) -> str:
    """Memory is mapped, reached through the IOMMU by the device's own writes, and nothing beside them is changed."""
    with driver.device.dma.allocate(1 << 20) as buffer:
        buffer.view[: len(_PATTERN)] = _PATTERN
        where = f"1 MiB mapped at {buffer.iova:#x}"
        missing, count = [], min(_WORDS, driver.ims.table.size)
        for _ in range(count):  # one after the other: a table may have one address for all
            try:
                word = driver.ims.allocate_polled()
            except UnsupportedError as error:
                raise NotApplicable(f"{where}; the device writes no words: {error.why}") from error
            with word:
                driver.fire(word.slot)
                if not word.wait(timeout):
                    missing.append(str(word))
        if missing:
            hint = "the host's log: dmesg | grep -E 'DMAR|AMD-Vi|vfio' for a refused write"
            raise Fails(f"not written in {timeout:g} s: {'; '.join(missing)}", hint)
        if bytes(buffer.view[: len(_PATTERN)]) != _PATTERN or bytes(buffer.view[len(_PATTERN) :]).strip(b"\0"):
            raise Fails("memory beside the words that the device writes has changed")
    return f"{where}; {counted(count, 'word')} written by the device, nothing beside them"


def reset(driver: Driver, timeout: float) -> str:
    """It comes back with its ids and BARs, and its slots interrupt again."""
    device, before = driver.device, Before.of(driver.device)
    driver.reset()
    wrong = [f"{one.check}: {one.text}" for one in verify(device, before, {}) if one.ok is False]
    if wrong:
        raise Fails("; ".join(wrong), "vfio-ims reset DEVICE tries each way")
    with driver.ims.allocate() as interrupt:
        driver.fire(interrupt.slot)
        if not interrupt.wait(timeout):
            raise Fails(f"{interrupt} does not interrupt any more", "vfio-ims selftest DEVICE")
    how = "function reset" if device.can_reset else "the driver's own reset"
    return f"{how}: ids and BARs as before, a slot interrupts again"

# SPDX-License-Identifier: Apache-2.0
"""Every status code that is declared is brought about, of DSA and of IAA, and the device works on after each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from enum import IntEnum

import pytest

import vfio_ims
from tests.intel_idxd.conftest import Opener
from tests.intel_idxd.memory import PAGE, Arena, arena, hole
from vfio_ims.drivers.intel_idxd.driver import Dsa, Iaa, Idxd
from vfio_ims.drivers.intel_idxd.driver.configuration import Configuration
from vfio_ims.drivers.intel_idxd.driver.operation_error import OperationError
from vfio_ims.drivers.intel_idxd.driver.operations import Request
from vfio_ims.drivers.intel_idxd.driver.queue_session import DsaQueue, IaaQueue
from vfio_ims.drivers.intel_idxd.hardware.descriptors import DsaOpcode, Flag, IaaOpcode, encode
from vfio_ims.drivers.intel_idxd.hardware.dif import DifTags
from vfio_ims.drivers.intel_idxd.hardware.iaa_flags import CompressFlag, DecompressFlag, FilterFlags
from vfio_ims.drivers.intel_idxd.hardware.software_error import acknowledge
from vfio_ims.drivers.intel_idxd.hardware.status import IaaStatus, Status, status_text
from vfio_ims.errors import UsageError
from vfio_ims.native.access import load

NOWHERE = 0x7000_0000
RECORDED = Flag.RECORD_VALID | Flag.RECORD_ALWAYS


class Place:
    """A device with memory, and an address with nothing behind it."""

    def __init__(self, driver: Idxd) -> None:
        self.driver, self.edge, self.memory = driver, hole(driver), arena(driver, 8 * PAGE)

    def at(self, offset: int) -> int:
        return self.memory.at(offset)


DsaCase = Callable[[Place, DsaQueue], int]
IaaCase = Callable[[Place, IaaQueue], int]


@pytest.fixture(scope="module")
def places() -> Iterator[Callable[[str, str], Place]]:
    """By name and options, each opened once."""
    found: dict[tuple[str, str], Place] = {}
    with ExitStack() as stack:

        def place(name: str, options: str) -> Place:
            if (name, options) not in found:
                driver = stack.enter_context(vfio_ims.open_driver(f"mock:{name},slots=256{options}"))
                assert isinstance(driver, (Dsa, Iaa))
                found[name, options] = Place(driver)
            return found[name, options]

        yield place


def raw(place: Place, wq: DsaQueue | IaaQueue, opcode: int, **how: int | bytes) -> int:
    """One descriptor's status; sources and destinations are offsets in the memory."""
    how = {key: place.at(int(value)) if key in ("source", "destination") else value for key, value in how.items()}
    return wq.start(Request(opcode, **how)).wait(check=False).status  # type: ignore[arg-type]


def unrecorded(place: Place, wq: DsaQueue | IaaQueue, descriptor: bytes) -> int:
    """The code in SWERR."""
    place.driver.device.bar(2).store64(0, descriptor)
    code = place.driver.regs.SWERR.read().error
    acknowledge(place.driver.regs)
    return code


def altered(place: Place, byte: int, value: int) -> int:
    """A no-op with a byte of its first word changed, to shared queue 1."""
    record = place.driver.records.take()
    descriptor = bytearray(encode(0, RECORDED, record=record.iova))
    descriptor[byte] = value
    even = Configuration.even(place.driver.capabilities)
    place.driver.configure(even.with_queue(1, dedicated=False, threshold=8))
    assert place.driver.device.bar(2).enqueue64(0x5000, bytes(descriptor))
    return load(record.address, 1)


def page_request(place: Place, wq: DsaQueue | IaaQueue) -> int:
    driver = place.driver
    driver.configure(Configuration.even(driver.capabilities).with_queue(1, block_on_fault=True))
    with driver.wq(1) as blocking:  # type: ignore[attr-defined]
        found = blocking.submit.memmove(place.at(0), NOWHERE, 8, flags=Flag.BLOCK_ON_FAULT).wait(check=False)
        assert (found.fault, found.fault_was_write) == (NOWHERE, False)
        assert blocking.submit.memmove(place.at(0), NOWHERE, 8).wait(check=False).status == Status.PAGE_FAULT
    return int(found.status)


def bad_class(place: Place, wq: DsaQueue | IaaQueue) -> int:
    """Traffic class A of the group works, B does not: only a descriptor that selects it is refused."""
    driver = place.driver
    even = Configuration.even(driver.capabilities)
    groups = tuple(replace(group, traffic_class_a=1, traffic_class_b=6) for group in even.groups)
    driver.configure(replace(even, groups=groups))
    assert wq.nop().ok
    return int(wq.submit.nop(flags=Flag.RECORD_CLASS).wait(check=False).status)


def fails(place: Place, wq: DsaQueue | IaaQueue) -> int:
    """Every third operation; of those with a readback where it is about that."""
    found = [
        wq.submit.memmove(place.at(0), place.at(PAGE), 8, flags=Flag.READBACK).wait(check=False).status
        for _ in range(3)
    ]
    assert found[:2] == [1, 1]
    return int(found[2])


def bad_handle(place: Place, wq: DsaQueue | IaaQueue) -> int:
    record = place.driver.records.take()
    place.driver.device.bar(2).store64(0x2000, encode(0, RECORDED | Flag.INTERRUPT, record=record.iova, handle=999))
    return load(record.address, 1)


def delta(place: Place, wq: DsaQueue, *offsets: int) -> int:
    place.memory.put(0, b"".join(offset.to_bytes(2, "little") + bytes(8) for offset in offsets))
    return wq.submit.apply_delta(place.at(PAGE), place.at(0), 10 * len(offsets), 128).wait(check=False).status


def failed_batch(place: Place, wq: DsaQueue) -> int:
    place.memory.put(0, encode(0) + encode(0x7F, Flag.RECORD_VALID, record=place.at(PAGE)))
    return raw(place, wq, DsaOpcode.BATCH, source=0, size=2)


def held_back(place: Place, wq: DsaQueue) -> int:
    batch = wq.batch()
    batch.fill(NOWHERE, 0, 8)
    batch.nop(flags=Flag.FENCE)
    return batch.run().wait(check=False)[1].status


def bad_readback(place: Place, wq: DsaQueue) -> int:
    assert wq.drain(readback=(place.at(0), place.at(PAGE))).ok
    found = wq.submit.drain(readback=(place.at(0), NOWHERE)).wait(check=False)
    assert str(found) == f"status 0x1f: page fault on the readback address at {NOWHERE:#x} after 0 bytes"
    return found.status


def common(opcode: int) -> dict[int, tuple[str, Callable[[Place, DsaQueue | IaaQueue], int]]]:
    """What both have."""
    return {
        Status.SUCCESS: ("", lambda p, wq: wq.nop().status),
        Status.PAGE_FAULT: ("", lambda p, wq: wq.submit.memmove(p.edge - 8, p.at(0), 16).wait(check=False).status),
        Status.PAGE_REQUEST: ("", page_request),
        Status.OPCODE: ("", lambda p, wq: raw(p, wq, 0x7F)),
        Status.FLAGS: ("", lambda p, wq: raw(p, wq, 0, flags=1 << 6)),
        Status.RESERVED: ("", lambda p, wq: altered(p, 2, 0x10)),
        Status.SIZE: ("", lambda p, wq: raw(p, wq, 3, size=0)),
        Status.INTERRUPT_HANDLE: ("", bad_handle),
        Status.COMPLETION_ADDRESS: ("", lambda p, wq: unrecorded(p, wq, encode(0, RECORDED, record=NOWHERE))),
        Status.COMPLETION_ALIGN: ("", lambda p, wq: unrecorded(p, wq, encode(0, RECORDED, record=p.at(16)))),
        Status.PRIVILEGE: ("", lambda p, wq: altered(p, 3, 0x80)),
        Status.TRAFFIC_CLASS: (",traffic_classes=3", bad_class),
        **{
            code: (f",hardware_status=3,hardware_code={code}", fails)
            for code in (Status.HARDWARE, Status.TRANSLATION, IaaStatus.PRS_TIMEOUT, IaaStatus.WATCHDOG)
        },
    }


DSA_CASES: dict[int, tuple[str, DsaCase]] = {
    **common(DsaOpcode.FILL),
    Status.NONE: ("", held_back),
    Status.FALSE_PREDICATE: ("", lambda p, wq: wq.compare_pattern(p.at(0), b"\xff", 8, expect=0).status),
    Status.BATCH_FAILED: ("", failed_batch),
    Status.BATCH_PAGE_FAULT: ("", lambda p, wq: wq.start(Request(1, 0, NOWHERE, 0, 2)).wait(check=False).status),
    Status.DELTA_ORDER: ("", lambda p, wq: delta(p, wq, 5, 5)),
    Status.DELTA_OFFSET: ("", lambda p, wq: delta(p, wq, 5, 99)),
    Status.DIF: ("", lambda p, wq: wq.submit.dif_check(p.at(0), 520, 512, DifTags(77)).wait(check=False).status),
    Status.RESERVED: ("", lambda p, wq: raw(p, wq, DsaOpcode.FILL, destination=0, size=8, specific=b"\0\1")),
    Status.COUNT: ("", lambda p, wq: raw(p, wq, DsaOpcode.BATCH, source=0, size=1)),
    Status.DELTA_SIZE: (
        "",
        lambda p, wq: raw(p, wq, DsaOpcode.APPLY_DELTA, source=0, destination=PAGE, size=64, specific=b"\x0b"),
    ),
    Status.OVERLAP: ("", lambda p, wq: raw(p, wq, DsaOpcode.COPY_CRC, source=0, destination=8, size=64)),
    Status.DUALCAST_ALIGN: (
        "",
        lambda p, wq: wq.submit.dualcast(p.at(0), p.at(PAGE + 4), p.at(64), 4).wait(check=False).status,
    ),
    Status.LIST_ALIGN: ("", lambda p, wq: raw(p, wq, DsaOpcode.BATCH, source=32, size=2)),
    Status.ADDRESS_ALIGN: (
        "",
        lambda p, wq: raw(p, wq, DsaOpcode.APPLY_DELTA, source=4, destination=PAGE, size=64, specific=b"\x0a"),
    ),
    Status.READBACK_FAULT: (",drain_readback=yes", bad_readback),
    Status.HARDWARE_READBACK: (",hardware_status=3,hardware_code=0x21", fails),
}


def scan(place: Place, wq: IaaQueue, inputs: int, form: FilterFlags, **how: int) -> int:
    place.memory.put(PAGE, bytes(32))
    where = place.at(2 * PAGE), PAGE, place.at(0), 100
    return wq.submit.scan(*where, inputs, form, place.at(PAGE), **how).wait(check=False).status


def inflate(place: Place, wq: IaaQueue, data: bytes, most: int = PAGE, **how: int) -> int:
    place.memory.put(0, data)
    return wq.submit.decompress(place.at(2 * PAGE), most, place.at(0), len(data), **how).wait(check=False).status


STORED = b"\x01\x05\x00\xfa\xffhello"  # RFC 1951, 3.2.4
BIG = DecompressFlag.ENABLE | DecompressFlag.FLUSH | DecompressFlag.BIG_ENDIAN

IAA_CASES: dict[int, tuple[str, IaaCase]] = {
    **common(IaaOpcode.MEMMOVE),
    IaaStatus.ANALYTICS: ("", lambda p, wq: inflate(p, wq, b"\x07\x07")),
    IaaStatus.OUTPUT_OVERFLOW: ("", lambda p, wq: inflate(p, wq, STORED, 3)),
    Status.OVERLAP: (
        "",
        lambda p, wq: wq.submit.decompress(p.at(8), PAGE, p.at(0), 64).wait(check=False).status,
    ),
    Status.ADDRESS_ALIGN: (
        "",
        lambda p, wq: wq.submit.compress(p.at(2 * PAGE), PAGE, p.at(0), 64, p.at(PAGE + 8)).wait(check=False).status,
    ),
    IaaStatus.COMPRESS_FLAGS: ("", lambda p, wq: inflate(p, wq, STORED, how=1 << 10)),
    IaaStatus.FILTER_FLAGS: ("", lambda p, wq: scan(p, wq, 10, FilterFlags(parse=3))),
    IaaStatus.INPUT_SIZE: ("", lambda p, wq: inflate(p, wq, b"abc", how=BIG)),
    IaaStatus.INPUTS: ("", lambda p, wq: scan(p, wq, 0, FilterFlags())),
    IaaStatus.SOURCE_WIDTH: ("", lambda p, wq: scan(p, wq, 10, FilterFlags(drop_low=4, drop_high=4))),
    IaaStatus.INVERT_OUTPUT: (
        "",
        lambda p, wq: (
            wq.submit.extract(p.at(PAGE), PAGE, p.at(0), 100, 9, FilterFlags(invert=True), p.at(2 * PAGE))
            .wait(check=False)
            .status
        ),
    ),
}


def names(cases: dict[int, object]) -> list[object]:
    def name(code: int) -> str:
        status: IntEnum = IaaStatus(code) if code in set(IaaStatus) else Status(code)
        return status.name

    return [pytest.param(code, id=name(code)) for code in sorted(cases)]


def test_every_declared_status_is_brought_about() -> None:
    """By DSA what DSA has, by IAA what IAA alone has."""
    assert set(Status) <= set(DSA_CASES)
    assert set(IaaStatus) <= set(IAA_CASES)


@pytest.mark.parametrize("code", names(DSA_CASES))  # type: ignore[arg-type]
def test_dsa_and_work_after_it(places: Callable[[str, str], Place], code: int) -> None:
    options, run = DSA_CASES[code]
    place = places("intel-dsa", options)
    place.memory.put(0, bytes(place.memory.buffer.size))
    place.memory.put(0, b"\1")
    assert isinstance(place.driver, Dsa)
    with place.driver.wq(0) as wq:
        assert run(place, wq) == code
        assert wq.fill(place.at(0), b"\5", 64).ok
    assert place.memory.take(0, 64) == b"\5" * 64


@pytest.mark.parametrize("code", names(IAA_CASES))  # type: ignore[arg-type]
def test_iaa_and_work_after_it(places: Callable[[str, str], Place], code: int) -> None:
    options, run = IAA_CASES[code]
    place = places("intel-iaa", options)
    place.memory.put(0, bytes(place.memory.buffer.size))
    assert isinstance(place.driver, Iaa)
    with place.driver.wq(0) as wq:
        assert run(place, wq) == code
        place.memory.put(PAGE, b"\5" * 64)
        assert wq.memmove(place.at(0), place.at(PAGE), 64).ok
    assert place.memory.take(0, 64) == b"\5" * 64


def test_a_drain_reads_back_only_where_gencap_says_so(dsa: Dsa) -> None:
    memory: Arena = arena(dsa)
    with dsa.wq(0) as wq:
        found = wq.submit.drain(readback=[memory.at(0)]).wait(check=False)
        assert (found.status, found.invalid_flags) == (Status.FLAGS, Flag.DRAIN_READ1)
        with pytest.raises(UsageError, match="2 places at most, not 3"):
            wq.drain(readback=(1, 2, 3))


def test_hardware_errors_are_reported(opened: Opener) -> None:
    dsa = opened("hardware_status=3")
    with dsa.wq(0) as wq, pytest.raises(OperationError, match="status 0x20: hardware error"):
        for _ in range(3):
            wq.nop()
    with pytest.raises(UsageError, match="0x20 to 0x24, not 0x1"):
        opened("hardware_code=1")


def test_every_code_has_words() -> None:
    for status in (*Status, *IaaStatus):
        assert "which no public source names" not in status_text(status)
    assert "which no public source names" in status_text(0x7E)
    assert status_text(0x83).endswith("(on a write)")
    assert CompressFlag.BIG_ENDIAN == DecompressFlag.BIG_ENDIAN

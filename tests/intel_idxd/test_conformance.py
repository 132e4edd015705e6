# SPDX-License-Identifier: Apache-2.0
"""The cases that others test DMA engines with, each by its name, and where it is tested here.

DPDK ``app/test/test_dmadev.c``; SPDK ``test/unit/lib/idxd``; accel-config ``test``; Intel DML ``tools/tests``;
OpenVMM's ``nvme_driver``. Those that no other file has are below.
"""

from __future__ import annotations

import ast
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vfio_ims
from tests.intel_idxd.conftest import Opener, model_of
from tests.intel_idxd.memory import PAGE, arena
from vfio_ims.dma import AddressSpace
from vfio_ims.drivers.intel_idxd.driver import Dsa
from vfio_ims.drivers.intel_idxd.driver.configuration import Configuration, queue_entry
from vfio_ims.drivers.intel_idxd.driver.operations import Request
from vfio_ims.drivers.intel_idxd.hardware.commands import Command
from vfio_ims.drivers.intel_idxd.hardware.completion import Completion
from vfio_ims.drivers.intel_idxd.hardware.descriptors import DsaOpcode, Flag
from vfio_ims.drivers.intel_idxd.hardware.dif import DestinationFlag, DifTags, SourceFlag
from vfio_ims.drivers.intel_idxd.hardware.events import decode_event
from vfio_ims.drivers.intel_idxd.hardware.registers import Bar0, State
from vfio_ims.drivers.intel_idxd.hardware.status import Status, status_text
from vfio_ims.drivers.intel_idxd.hardware.tables import GroupConfig, QueueState
from vfio_ims.errors import DeviceBusy, DeviceError, VfioImsError

ENGINE, HERE = "test_engine_cases", "test_conformance"
NOWHERE = 0x7000_0000

CASES: dict[str, dict[str, str]] = {
    "dpdk": {
        "single_copy": ENGINE,
        "enqueue_copies": ENGINE,
        "stop_start": ENGINE,
        "enqueue_sg_copies": ENGINE,
        "enqueue_sva_copies": HERE,
        "enqueue_fill": ENGINE,
        "burst_capacity": ENGINE,
        "completion_status": ENGINE,
        "completion_handling": ENGINE,
        "failure_in_full_burst": ENGINE,
        "individual_status_query_with_failure": ENGINE,
        "single_item_status_query_with_failure": ENGINE,
        "multi_failure": ENGINE,
        "enq_deq_ops": ENGINE,
    },
    "spdk": {
        "wait_cmd": HERE,
        "reset_dev": HERE,
        "group_config": HERE,
        "wq_config": HERE,
        "dif_parameters": HERE,
        "dif_alignment": HERE,
    },
    "accel-config": {
        "dsa_opcodes": HERE,
        "iaa_opcodes": HERE,
        "batch_sizes": HERE,
        "page_fault_block": HERE,
        "page_fault_no_block": HERE,
        "shared_and_dedicated": HERE,
    },
    "dml": {
        "algorithmic": HERE,
        "bad_arguments": HERE,
    },
    "openvmm": {
        "bad_id_in_a_completion": HERE,
        "failed_asynchronous_event": HERE,
        "dma_allocation_failure": HERE,
        "limits_from_hostile_capabilities": HERE,
    },
}


def names_in(name: str) -> set[str]:
    tree = ast.parse((Path(__file__).parent / f"{name}.py").read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_every_case_has_a_test_of_its_name() -> None:
    missing = [
        f"{source}: {case}"
        for source, cases in CASES.items()
        for case, file in cases.items()
        if f"test_{case}" not in names_in(file)
    ]
    assert missing == []


# --- DPDK -------------------------------------------------------------------------------------------------------------


def test_enqueue_sva_copies(dsa: Dsa) -> None:
    """Work tagged with a PASID, by the process's own addresses."""
    plain = dsa.device.dma.allocate(2 * PAGE)
    address = plain.address
    dsa.device.dma.port.map(address, address, 2 * PAGE, read=True, write=True)
    data = bytes(range(256)) * 8
    plain.view[: len(data)] = data
    with dsa.wq(1, "ims", pasid=0x77) as wq:
        for size in (1, 63, 2048):
            wq.memmove(address + PAGE, address, size)
            assert bytes(plain.view[PAGE : PAGE + size]) == data[:size]
    dsa.device.dma.port.unmap(address, 2 * PAGE)


# --- SPDK -------------------------------------------------------------------------------------------------------------


def test_wait_cmd(opened: Opener) -> None:
    """A command that takes its time, one that fails, one that never ends."""
    dsa = opened("command_ms=5")
    assert dsa.commander.run(Command.DRAIN_ALL) == 0
    with pytest.raises(DeviceError, match="the device is not disabled"):
        dsa.commander.run(Command.ENABLE_DEVICE)
    model_of(dsa).commands._delay = 500
    dsa.commander._timeout = 0.05
    with pytest.raises(VfioImsError, match=r"still active after 0\.05 s"):
        dsa.commander.run(Command.DRAIN_ALL)
    model_of(dsa).commands._delay = 0
    dsa.commander._timeout = 10


def test_reset_dev(dsa: Dsa) -> None:
    dsa.commander.run(Command.RESET_DEVICE)
    assert dsa.regs.GENSTS.read().state == State.DISABLED
    assert queue_entry(dsa.regs, dsa.capabilities, 0).STATUS.read().state == QueueState.DISABLED
    dsa.start()
    with dsa.wq(0) as wq:
        assert wq.nop().ok


def test_group_config(dsa: Dsa) -> None:
    """All queues and engines into group 0, the others' entries zero."""
    even = Configuration.even(dsa.capabilities)
    groups = tuple(
        replace(group, engines=(0, 1, 2, 3), read_buffers_allowed=96)
        if group.index == 0
        else replace(group, engines=())
        for group in even.groups
    )
    dsa.configure(replace(even, queues=tuple(replace(q, group=0) for q in even.queues), groups=groups))
    entries = [GroupConfig(dsa.regs.window, 0x300 + 64 * n) for n in range(4)]
    assert [int(entry.QUEUES0.read()) for entry in entries] == [0xFF, 0, 0, 0]
    assert [int(entry.ENGINES.read()) for entry in entries] == [0xF, 0, 0, 0]
    flags = entries[0].FLAGS.read()
    assert (flags.traffic_class_a, flags.traffic_class_b, flags.read_buffers_allowed) == (1, 1, 96)


def test_wq_config(dsa: Dsa) -> None:
    capabilities = dsa.capabilities
    entry = queue_entry(dsa.regs, capabilities, 3)
    assert entry.SIZE.read().entries == capabilities.queue.total_size // capabilities.queue.queues
    limits, mode = entry.LIMITS.read(), entry.MODE.read()
    assert (1 << limits.max_transfer_shift, 1 << limits.max_batch_shift) == (
        (capabilities.max_transfer, capabilities.max_batch)
    )
    assert (mode.dedicated, mode.priority, mode.pasid_enable, mode.block_on_fault) == (1, 10, 0, 0)
    assert entry.STATUS.read().state == QueueState.ENABLED


@pytest.mark.parametrize("block", [512, 520, 4096, 4104])
@pytest.mark.parametrize("dif", [0, 4, 8, 12])
def test_dif_parameters(dsa: Dsa, block: int, dif: int) -> None:
    """Every block size and every way to make the guard, with fixed and counted tags."""
    memory = arena(dsa, 4 * PAGE)
    data = bytes(memory.fresh(block)[:block])
    with dsa.wq(0) as wq:
        for fixed in (False, True):
            making = DestinationFlag.FIXED_REF_TAG if fixed else 0
            checking = SourceFlag.FIXED_REF_TAG if fixed else 0
            tags = DifTags(9, 0x1234, flags=making)
            made = wq.dif_insert(memory.at(2 * PAGE), memory.at(0), block, block, tags, dif=dif)
            assert made.target_tags.ref == (9 if fixed else 10)
            expected = DifTags(9, 0x1234, flags=checking)
            assert wq.dif_check(memory.at(2 * PAGE), block + 8, block, expected, dif=dif).ok
            other = wq.submit.dif_check(memory.at(2 * PAGE), block + 8, block, expected, dif=dif ^ 8)
            assert other.wait(check=False).status == Status.DIF
    assert memory.take(2 * PAGE, block) == data


@pytest.mark.parametrize("size", [0, 1, 511, 513, 519, 1023])
def test_dif_alignment(dsa: Dsa, size: int) -> None:
    """Sizes that are no multiple of a block, with its field or without."""
    memory = arena(dsa, 4 * PAGE)
    with dsa.wq(0) as wq:
        for run in (
            lambda: wq.submit.dif_insert(memory.at(PAGE), memory.at(0), size, 512),
            lambda: wq.submit.dif_check(memory.at(0), size, 512),
            lambda: wq.submit.dif_strip(memory.at(PAGE), memory.at(0), size, 512),
            lambda: wq.submit.dif_update(memory.at(PAGE), memory.at(0), size, 512),
        ):
            assert run().wait(check=False).status == Status.SIZE
        assert wq.nop().ok


# --- accel-config -----------------------------------------------------------------------------------------------------


def opcodes_tried() -> set[str]:
    return names_in("test_table")


def test_dsa_opcodes() -> None:
    """Each against an oracle: see ``ORACLES``; which versions have which: ``test_table``."""
    assert "test_which_device_knows_it" in opcodes_tried()
    assert {f"test_{name}" for name in ("compare", "compare_pattern", "dualcast", "cache_flush")} <= (
        names_in("test_comparing")
    )
    assert {"test_memmove_with_any_overlap", "test_fill", "test_a_batch_in_order"} <= names_in("test_moving")


def test_iaa_opcodes() -> None:
    assert {"test_crc64", "test_rle_burst", "test_sets", "test_scan_and_extract"} <= names_in("test_iaa") | names_in(
        "test_iaa_filters"
    )


@pytest.mark.parametrize("count", [2, 3, 16, 127, 128, 1023, 1024])
def test_batch_sizes(dsa: Dsa, count: int) -> None:
    memory = arena(dsa, 2 * PAGE)
    with dsa.wq(0, "ims") as wq, wq.batch() as batch:
        for n in range(count):
            batch.fill(memory.at(8 * n % PAGE), n.to_bytes(8, "little"), 8)
    assert [completion.status for completion in batch.completions] == [Status.SUCCESS] * count
    assert memory.take(8 * (count - 1) % PAGE, 8) == (count - 1).to_bytes(8, "little")


@pytest.fixture
def blocking(dsa: Dsa) -> Dsa:
    dsa.configure(Configuration.even(dsa.capabilities).with_queue(0, block_on_fault=True))
    return dsa


@pytest.mark.parametrize("opcode", [DsaOpcode.MEMMOVE, DsaOpcode.COMPARE, DsaOpcode.CRC, DsaOpcode.DIF_CHECK])
def test_page_fault_block(blocking: Dsa, opcode: DsaOpcode) -> None:
    """The page request is answered with an error: nothing here could bring the page."""
    size, specific = (520, b"\0\0\0") if opcode == DsaOpcode.DIF_CHECK else (64, b"")
    with blocking.wq(0) as wq:
        request = Request(opcode, Flag.BLOCK_ON_FAULT, NOWHERE, 0, size, specific=specific)
        if opcode in (DsaOpcode.MEMMOVE, DsaOpcode.COMPARE):
            request = request._replace(destination=blocking.device.dma.allocate(PAGE).iova)
        found = wq.start(request).wait(check=False)
        assert (found.status, found.fault) == (Status.PAGE_REQUEST, NOWHERE)
        assert wq.nop().ok


def test_page_fault_no_block(dsa: Dsa) -> None:
    """In a batch too, where the others go on."""
    memory = arena(dsa)
    with dsa.wq(0) as wq:
        batch = wq.batch()
        batch.memmove(memory.at(0), NOWHERE, 64)
        batch.memmove(NOWHERE, memory.at(0), 64)
        batch.fill(memory.at(0), b"\7", 64)
        found = batch.run().wait(check=False)
        assert [one.status for one in found] == [Status.PAGE_FAULT, Status.PAGE_FAULT, Status.SUCCESS]
        assert [one.fault_was_write for one in found] == [False, True, False]
    assert memory.take(0, 64) == b"\7" * 64


@pytest.mark.parametrize("completion", ["poll", "ims", "msix"])
def test_shared_and_dedicated(dsa: Dsa, completion: str) -> None:
    dsa.configure(Configuration.even(dsa.capabilities).with_queue(1, dedicated=False, threshold=8))
    memory = arena(dsa, 8 * PAGE)
    expected = bytes(memory.fresh(1)[:PAGE])
    with dsa.wq(0, completion) as dedicated, dsa.wq(1, completion) as shared:
        operations = [
            wq.submit.memmove(memory.at(PAGE * (1 + n)), memory.at(0), PAGE)
            for n, wq in enumerate((dedicated, shared) * 3)
        ]
        assert all(operation.wait().ok for operation in operations)
    assert memory.take(PAGE, 6 * PAGE) == expected * 6


# --- DML --------------------------------------------------------------------------------------------------------------

ORACLES = {
    "nop": "test_statuses.test_dsa_and_work_after_it",
    "drain": "test_engines.test_a_drain_waits_for_its_queue_and_for_no_other",
    "batch": "test_moving.test_a_batch_in_order",
    "memmove": "test_moving.test_memmove_with_any_overlap",
    "fill": "test_moving.test_fill",
    "compare": "test_comparing.test_compare",
    "compare_pattern": "test_comparing.test_compare_pattern",
    "create_delta": "test_comparing.test_deltas_there_and_back",
    "apply_delta": "test_comparing.test_deltas_there_and_back",
    "dualcast": "test_comparing.test_dualcast",
    "translation_fetch": "test_versions.test_version_2_fetches_translations_and_generates_dix",
    "crc": "test_checking.test_crc",
    "copy_crc": "test_checking.test_crc",
    "dif_check": "test_checking.test_insert_check_strip",
    "dif_insert": "test_checking.test_insert_check_strip",
    "dif_strip": "test_checking.test_insert_check_strip",
    "dif_update": "test_checking.test_update",
    "dix_generate": "test_checking.test_dix",
    "cache_flush": "test_comparing.test_cache_flush",
    "compress": "test_iaa.test_what_it_compresses_zlib_inflates",
    "decompress": "test_iaa.test_what_zlib_compresses_it_inflates",
    "compress_stream": "test_iaa_streams.test_compressed_in_pieces_zlib_inflates_it",
    "decompress_stream": "test_iaa_streams.test_what_zlib_compressed_is_inflated_in_pieces",
    "statistics": "test_iaa.test_statistics_count_what_would_be_written",
    "crc64": "test_iaa.test_crc64",
    "zero_compress": "test_iaa.test_zeros_left_out_and_put_in",
    "zero_decompress": "test_iaa.test_zeros_left_out_and_put_in",
    "scan": "test_iaa_filters.test_scan_and_extract",
    "extract": "test_iaa_filters.test_scan_and_extract",
    "select": "test_iaa_filters.test_select_and_expand_are_each_others_inverse",
    "expand": "test_iaa_filters.test_select_and_expand_are_each_others_inverse",
    "set_membership": "test_iaa_filters.test_sets",
    "find_unique": "test_iaa_filters.test_sets",
    "rle_burst": "test_iaa_filters.test_rle_burst",
}
"""Where each operation is checked against its definition."""


def operations_of(name: str) -> set[str]:
    cls = getattr(vfio_ims.drivers.intel_idxd.driver.queue_session, name)
    known = {"close", "submit_many", "start", "retire", "again", "copied"}
    return {one for one in dir(cls) if callable(getattr(cls, one)) and not one.startswith("_") and one not in known}


def test_algorithmic() -> None:
    """Every operation that a queue offers has an oracle."""
    assert operations_of("DsaQueue") | operations_of("IaaQueue") == set(ORACLES)
    for place in ORACLES.values():
        file, test = place.split(".")
        assert test in names_in(file), place


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 8, 9, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x20])
def test_bad_arguments(dsa: Dsa, opcode: int) -> None:
    """Each operation with no size, too large a size, an unknown flag and a reserved byte that is not 0."""
    memory = arena(dsa, 4 * PAGE)
    good = Request(opcode, 0, memory.at(0), memory.at(PAGE), 512)
    with dsa.wq(0) as wq:

        def run(**how: object) -> int:
            return wq.start(good._replace(**how)).wait(check=False).status  # type: ignore[arg-type]

        assert run(size=0) == Status.SIZE
        assert run(flags=1 << 6) == run(flags=1 << 23) == run(flags=Flag.FENCE) == Status.FLAGS
        assert run(extra=1) == Status.RESERVED
        if opcode != 0x15:  # DIF update has no byte to spare
            assert run(specific=b"\0" * 17 + b"\1" + b"\0" * 6 if opcode not in (0x13,) else b"\1") == Status.RESERVED
        assert wq.nop().ok
    dsa.configure(Configuration.even(dsa.capabilities).with_queue(0, max_transfer_shift=8))
    with dsa.wq(0) as wq:
        assert wq.start(good).wait(check=False).status == Status.SIZE


# --- OpenVMM ----------------------------------------------------------------------------------------------------------


def test_bad_id_in_a_completion(dsa: Dsa) -> None:
    """A device that writes completions that were not asked for, and unknown codes."""
    with dsa.wq(0) as wq:
        later = wq.submit.nop()
        spare = dsa.records.take()
        bus = model_of(dsa).bus
        assert bus is not None
        bus.write(spare.iova, b"\x7e" * 32)  # no work has this record
        dsa.records.give_back(spare)
        assert later.wait().ok
        for _ in range(4):
            assert wq.nop().ok
    assert "which no public source names" in str(Completion(b"\x7e" * 32))
    assert status_text(0xFE).endswith("(on a write)")


def test_failed_asynchronous_event(opened: Opener) -> None:
    """An event log whose memory is gone, or holds nonsense: errors go to SWERR, or are reported as they are."""
    dsa = opened("version=2")
    dsa.configure(replace(Configuration.even(dsa.capabilities), event_log=64))
    model = model_of(dsa)
    with dsa.wq(0) as wq:
        dsa.regs.EVLSTATUS.write(head=0)
        with model.lock:
            model.registers().update(Bar0.EVLCFG, base=NOWHERE >> 12)
        dsa.device.bar(2).store64(0, bytes(7) + b"\x7f" + bytes(56))
        assert dsa.regs.SWERR.read().error == Status.OPCODE
        assert wq.nop().ok
    for size in (64, 128):
        assert str(decode_event(b"\xff" * size)).startswith("event 0x7f: which no public source names")


def test_dma_allocation_failure(dsa: Dsa, monkeypatch: pytest.MonkeyPatch) -> None:
    """No memory to be had: the operation says so, nothing is lost, and later it works."""
    memory = arena(dsa)

    def refuse(self: AddressSpace, *args: object, **how: object) -> object:
        raise DeviceBusy("allocate", why="no memory left")

    with dsa.wq(0) as wq:
        wq.nop()
        free = len(dsa.records._free)
        lists = dsa.lists.take(64 * 300)
        dsa.lists.give_back(lists)  # the list has its memory, the records do not
        with monkeypatch.context() as patch:
            patch.setattr(AddressSpace, "allocate", refuse)
            batch = wq.batch()
            for _ in range(300):
                batch.fill(memory.at(0), 1, 8)
            with pytest.raises(DeviceBusy, match="no memory left"):
                batch.run()
            held = [dsa.records.take() for _ in range(len(dsa.records._free))]
            with pytest.raises(DeviceBusy, match="no memory left"):
                wq.nop()
            for record in held:
                dsa.records.give_back(record)
            assert wq.nop().ok
        assert len(dsa.records._free) == free
        with wq.batch() as again:
            for _ in range(300):
                again.fill(memory.at(0), 1, 8)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from((Bar0.GENCAP, Bar0.WQCAP, Bar0.GRPCAP, Bar0.ENGCAP, Bar0.OFFSETS, Bar0.OPCAP, Bar0.VERSION)),
    st.integers(0, 2**64 - 1) | st.sampled_from((0, 2**64 - 1)),
)
def test_limits_from_hostile_capabilities(register: object, value: int) -> None:
    """Any value in any capability register: it comes up, or an error of ours says why not."""
    with vfio_ims.open_driver("mock:intel-dsa,slots=256") as dsa:
        assert isinstance(dsa, Dsa)
        model = model_of(dsa)
        dsa.stop()
        with model.lock:
            model.registers().set(register, value & (1 << register.width) - 1)  # type: ignore[attr-defined, arg-type]
        model.reset_device = lambda: None  # type: ignore[method-assign]
        with suppress(VfioImsError):
            dsa.start()
            with dsa.wq(0, timeout=0.2) as wq:
                wq.nop()
        model.reset()
        with suppress(DeviceError):
            dsa.start()

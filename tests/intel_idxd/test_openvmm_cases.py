# SPDX-License-Identifier: Apache-2.0
"""OpenVMM's cases, ``nvme_driver``: a device that lies, and memory that is not to be had."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vfio_ims
from tests.intel_idxd.conftest import Opener, model_of
from tests.intel_idxd.memory import arena
from vfio_ims.dma import AddressSpace
from vfio_ims.drivers.intel_idxd.driver import Dsa
from vfio_ims.drivers.intel_idxd.driver.configuration import Configuration
from vfio_ims.drivers.intel_idxd.hardware.completion import Completion
from vfio_ims.drivers.intel_idxd.hardware.events import decode_event
from vfio_ims.drivers.intel_idxd.hardware.registers import Bar0
from vfio_ims.drivers.intel_idxd.hardware.status import Status, status_text
from vfio_ims.errors import DeviceBusy, DeviceError, VfioImsError

NOWHERE = 0x7000_0000


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

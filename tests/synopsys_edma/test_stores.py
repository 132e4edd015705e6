# SPDX-License-Identifier: Apache-2.0
"""The message stores: what shares what, which donors fit on which host, and that a fault of the device is named."""

from __future__ import annotations

import pytest

import vfio_ims
from tests.behaviour.common import delivered
from tests.synopsys_edma.conftest import MAPS, Opener, model_of, mounted
from tests.testing.conftest import inner as inner
from vfio_ims.drivers.synopsys_edma.driver import Edma
from vfio_ims.drivers.synopsys_edma.hardware.hdma import Hdma, HdmaChannel
from vfio_ims.drivers.synopsys_edma.hardware.registers import Common
from vfio_ims.errors import DeviceBusy, UnsupportedError
from vfio_ims.ims import FireStatus
from vfio_ims.messages import Message, Slot
from vfio_ims.selftest import Kind, Options, Report, run
from vfio_ims.testing import silent

FAST = Options(timeout=0.2, settle=0.02)
HOSTS = ("", "remapping=no", "interrupts=msi", "interrupts=both,donors=msi", "interrupts=msi,remapping=no")


# --- the self-test and the conformance suite --------------------------------------------------------------------------


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("name", MAPS)
def test_the_whole_self_test(name: str, host: str) -> None:
    with mounted("mock", ",".join(filter(None, (name, host)))) as driver:
        report = run(driver)
        assert report.passed, report
        assert report.counts.delivered == report.counts.fired > 2 * report.slots


@pytest.mark.parametrize("name", MAPS)
def test_the_whole_self_test_behind_a_socket(name: str) -> None:
    with mounted("vfio-user", name) as driver:
        report = run(driver)
        assert report.passed, report


@pytest.mark.parametrize("mount", ["mock", "vfio-user"])
@pytest.mark.parametrize("name", [*MAPS, "synopsys-edma,interrupts=msi", "synopsys-edma,metadata=yes,vsec=no"])
def test_the_whole_conformance_suite(inner: pytest.Pytester, mount: str, name: str) -> None:
    if mount == "mock":
        device = f"mock:{name}"
        result = inner.runpytest("--pyargs", "vfio_ims.testing.conformance", f"--vfio-device={device}")
    else:
        with mounted(mount, name) as driver:
            device = driver.device.name
            driver.close()
            result = inner.runpytest("--pyargs", "vfio_ims.testing.conformance", f"--vfio-device={device}")
    outcomes = result.parseoutcomes()
    assert not {"failed", "errors"} & set(outcomes)
    assert outcomes["skipped"] <= 4
    assert outcomes["passed"] + outcomes["skipped"] >= 24


def named(report: Report) -> set[Kind]:
    assert not report.passed
    return {finding.kind for finding in report.findings}


@pytest.mark.parametrize("name", ["synopsys-edma", "amd-hdma"])
def test_an_engine_that_loses_its_done_message_is_named(name: str) -> None:
    with mounted("mock", f"{name},defect=loses-done") as driver:
        assert Kind.RUNG in named(run(driver, options=FAST))


# --- what is written where --------------------------------------------------------------------------------------------


def test_both_causes_of_a_direction_have_the_address_of_its_slots(opened: Opener) -> None:
    edma = opened()
    model = model_of(edma)
    with edma.ims.allocate(slot=0) as write, edma.ims.allocate(slot=3) as read:
        for slot, message in ((0, write.message), (3, read.message)):
            assert edma.ims.table.read(slot) == Slot(message, masked=False)
        file = model.registers()
        for low, high, message in (
            (Common.WRITE_DONE_LOW, Common.WRITE_DONE_HIGH, write.message),
            (Common.WRITE_ABORT_LOW, Common.WRITE_ABORT_HIGH, write.message),
            (Common.READ_DONE_LOW, Common.READ_DONE_HIGH, read.message),
            (Common.READ_ABORT_LOW, Common.READ_ABORT_HIGH, read.message),
        ):
            assert file.get(high) << 32 | file.get(low) == message.address
        assert file.get(Common.READ_DATA_01) >> 16 == read.message.data


def test_hdma_has_an_address_for_each_channel_and_cause(opened: Opener) -> None:
    edma = opened(name="amd-hdma")
    model = model_of(edma)
    with edma.ims.allocate_group(16) as group:
        messages = {irq.slot: irq.message for irq in group}
        assert len(set(messages.values())) == 8
        for slot, message in messages.items():
            row = model.registers().row(Hdma.WRITES if slot < 8 else Hdma.READS, slot % 8)
            for low in (HdmaChannel.STOP_LOW, HdmaChannel.WATERMARK_LOW, HdmaChannel.ABORT_LOW):
                assert row.get(low) == message.address
            assert row.get(HdmaChannel.DATA) == message.data


def test_data_of_more_than_16_bits_is_refused_by_v0_and_taken_by_hdma(opened: Opener) -> None:
    for name, fits in (("synopsys-edma", False), ("amd-hdma", True)):
        edma = opened(name=name)
        message = Message(edma.device.dma.allocate(4).iova, 0x12345)
        with edma.ims.allocate(slot=0) as irq:
            if fits:
                edma.ims.write(irq.slot, message)
                assert edma.ims.table.read(0).message == message
            else:
                with pytest.raises(UnsupportedError, match="keeps 16 bits of data"):
                    edma.ims.write(irq.slot, message)


def test_the_device_cuts_data_to_16_bits(opened: Opener) -> None:
    edma = opened()
    model, word = model_of(edma), edma.device.dma.allocate(4096)
    file = model.registers()
    for low, value in ((Common.WRITE_DONE_LOW, word.iova), (Common.WRITE_DATA_01, 0x1234_5678)):
        file.set(low, value)
    file.set(Common.WRITE_DONE_HIGH, 0)
    edma.fire(0)
    assert bytes(word.view[:4]) == bytes.fromhex("78560000")
    edma.fire(1)
    assert bytes(word.view[:4]) == bytes.fromhex("34120000")


def test_directions_have_donors_of_their_own(opened: Opener) -> None:
    """Each direction has an address: two exclusive donors fit, a third does not, and says why."""
    edma = opened()
    first, second = (edma.ims.allocate(exclusive=True) for _ in range(2))
    assert (first.slot, second.slot) == (0, 2)
    assert first.message.address != second.message.address
    with pytest.raises(DeviceBusy, match=r"vector 2 does not fit: the table has one address for these slots, now 0x"):
        edma.ims.allocate(exclusive=True)
    assert delivered(edma, first)
    assert silent(second)


def test_a_mask_is_refused_with_the_reason(opened: Opener) -> None:
    with opened().ims.allocate() as irq, pytest.raises(UnsupportedError, match="the table's entries have no mask"):
        irq.mask()


def test_polling_sends_no_message(opened: Opener) -> None:
    """The source is off: a list without an interrupt does not wake a slot that shares its address."""
    edma = opened()
    with edma.ims.allocate(slot=0) as irq, edma.write_channel(1, completion="poll") as channel:
        channel.copy(edma.window(channel).address, edma.device.dma.allocate(4096).iova, 64)
        assert silent(irq)


# --- which host -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "donors", "carried", "text"),
    [
        ("", 2, "no", "each MSI-X message is a VT-d handle in an address of its own"),
        ("interrupts=msi", 8, "yes", "the messages of one MSI block share a VT-d handle: 8 interrupts"),
        ("interrupts=both,donors=msi", 8, "yes", "the messages of one MSI block share a VT-d handle: 8 interrupts"),
        ("interrupts=msi,vectors=1", 1, "yes", "there is one vector, with one message"),
        ("platform=vtd-shv0", 2, "no", "each MSI-X message is a VT-d handle in an address of its own"),
        ("interrupts=msi,platform=vtd-shv0", 1, "yes", "there is one vector, with one message"),
        ("platform=amd", 8, "yes", "AMD-Vi has one address for all, and the index in the data: 8 interrupts"),
        ("platform=its-smmu", 8, "yes", "written to the ITS's doorbell, with the event in the data: 8 interrupts"),
        ("platform=gicv2m", 8, "yes", "written to the GICv2m frame's doorbell, with the SPI in the data: 8 interrupts"),
        ("interrupts=msi,platform=amd", 8, "yes", "AMD-Vi has one address for all"),
        ("remapping=no", 4, "no", "each message has its CPU in the address"),
        ("interrupts=msi,remapping=no", 1, "yes", "there is one vector, with one message"),
    ],
)
def test_the_verdict_says_which_row_applies(opened: Opener, options: str, donors: int, carried: str, text: str) -> None:
    verdict = opened(options).verdict
    link = verdict.link("shared address")
    assert (verdict.usable, verdict.donors, link.word) == (True, donors, carried)
    assert text in link.evidence.text


def test_hdma_shares_no_address(opened: Opener) -> None:
    verdict = opened(name="amd-hdma").verdict
    assert verdict.donors == 8
    assert "shared address" not in {link.name for link in verdict.links}


def test_without_the_kernels_registers_the_verdict_says_what_is_missing(opened: Opener) -> None:
    edma = opened("interrupts=msi,config=no")
    assert edma.verdict.usable is False
    assert "the message that the kernel wrote" in str(edma.verdict)
    with pytest.raises(UnsupportedError, match="the message that the kernel wrote"):
        edma.ims.allocate()
    assert edma.ims.allocate_polled().slot == 0


def test_four_interrupts_through_one_msi_block(opened: Opener) -> None:
    edma = opened("interrupts=msi,vectors=4")
    irqs = [edma.ims.allocate(exclusive=True) for _ in range(4)]
    assert len({irq.message.address for irq in irqs}) == 1
    assert [irq.message.data for irq in irqs] == [0, 1, 2, 3]
    for irq in irqs:
        assert delivered(edma, irq)
        assert all(silent(other) for other in irqs if other is not irq)


def test_msi_donors_and_other_interrupts_exclude_each_other(opened: Opener) -> None:
    edma = opened("interrupts=both,donors=msi")
    interrupts = edma.device.interrupts
    with edma.ims.allocate():
        with pytest.raises(DeviceBusy, match="MSI is in use"):
            interrupts.open_msix(0)
        with pytest.raises(DeviceBusy, match="MSI is in use"):
            interrupts.open_msi()
    with interrupts.open_msix(0), pytest.raises(DeviceBusy, match="MSI-X is in use"):  # idle donors are given up
        edma.ims.allocate()
    with edma.ims.allocate() as irq:
        assert delivered(edma, irq)


def test_a_moved_msi_vector_is_followed(opened: Opener) -> None:
    """Nothing remaps: the kernel writes another message, and the slots follow."""
    edma = opened("interrupts=msi,remapping=no")
    with edma.ims.allocate_group(4) as group:
        edma.device.port.platform.set_affinity(edma.device.port.function, 0, 3)  # type: ignore[attr-defined]
        edma.device.port.state.show_enables()  # type: ignore[attr-defined]
        assert edma.ims.check() == [0]
        for irq in group:
            irq.wait(0)
            assert delivered(edma, irq)


# --- knobs ------------------------------------------------------------------------------------------------------------


def test_an_emulated_interrupt_is_a_message_without_a_status(opened: Opener) -> None:
    for options, comes in (("emulated", True), ("", False)):
        edma = opened(options)
        with edma.ims.allocate(slot=0, exclusive=True) as irq:
            edma.device.bar(0).write32(Common.WRITE_STATUS.offset, 0)
            assert irq.wait(10 if comes else 0.05) is comes
            assert edma.fired([0]) == []


def test_causes_of_hdma_are_recorded_where_the_local_interrupt_is_on(opened: Opener) -> None:
    """The message is sent all the same; its mask is of a pin."""
    edma = opened(name="amd-hdma")
    setup = edma.device.bar(0).bind(Hdma).WRITES[0].INT_SETUP
    with edma.ims.allocate(slot=0, exclusive=True) as irq:
        for local in (1, 0):
            setup.write(remote_stop=1, local_stop=local, mask_stop=1)
            assert edma.fire(0).status is FireStatus.SENT
            assert irq.wait(10)
            assert edma.fired([0]) == [0] * local


def test_a_status_that_comes_after_its_message_loses_no_wakeup_of_an_exclusive_owner(opened: Opener) -> None:
    edma = opened("defect=late-status")
    with edma.ims.allocate(exclusive=True) as irq:
        assert delivered(edma, irq)


def test_an_engine_that_ignores_cycle_bits_runs_past_the_end(opened: Opener) -> None:
    """It consumes zeros until its list's end, and for ever round: a transfer's time is up, and a reset helps."""
    edma = opened("defect=ignores-cycle")
    with edma.write_channel() as channel:
        transfer = channel.start([edma.window(channel).address], [edma.device.dma.allocate(4096).iova], 4)
        with pytest.raises(vfio_ims.errors.VfioImsError):
            transfer.wait(0.3)
    edma.reset()
    assert edma.status() == ""


def test_any_driver_is_found_by_id() -> None:
    for name in ("mock:synopsys-edma", "mock:amd-hdma"):
        with vfio_ims.open_driver(name) as driver:
            assert isinstance(driver, Edma)


# --- one address register, on each kind of host -----------------------------------------------------------------------


@pytest.mark.parametrize(("platform", "donors"), [("vtd", 2), ("vtd-shv0", 2), ("amd", 8), ("its-smmu", 8), ("its", 8)])
def test_slots_that_share_an_address_get_as_many_donors_as_the_host_allows(
    opened: Opener, platform: str, donors: int
) -> None:
    """Two address registers, one for each direction: two vectors under VT-d, where the address names the vector."""
    edma = opened(f"platform={platform}")
    assert edma.verdict.donors == donors
    with edma.ims.allocate_group(edma.ims.table.size) as group:
        assert len({irq.donor for irq in group}) == min(donors, len(group)), (
            "each slot its own, where there are so many"
        )
        assert all(slot.in_order for slot in edma.ims.report().slots)
        assert all(delivered(edma, irq) for irq in group)


def test_an_exclusive_donor_beside_others_on_one_address(opened: Opener) -> None:
    """Under VT-d the other slots of the direction have to close first; under AMD-Vi they move to other vectors."""
    edma = opened("platform=amd")
    first = edma.ims.allocate(slot=0)
    alone = edma.ims.allocate(slot=1, exclusive=True)
    assert first.message.address == alone.message.address
    assert first.donor != alone.donor
    assert all(delivered(edma, irq) for irq in (first, alone))
    edma = opened("platform=vtd")
    edma.ims.allocate(slot=0)
    with pytest.raises(DeviceBusy, match="does not fit: the table has one address for these slots"):
        edma.ims.allocate(slot=1, exclusive=True)

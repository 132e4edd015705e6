# SPDX-License-Identifier: Apache-2.0
"""A real device's map, Intel DSA of Sapphire Rapids: every field that is known of it, decoded and built."""

import json

import pytest

from tests.pci import dumps
from tests.pci.dumps import SPR_DSA
from vfio_ims.pci import Capabilities, ConfigBuilder, ConfigImage, ConfigSource, ConfigSpace, decode, ims_hint
from vfio_ims.pci.capabilities import (
    AddressTranslation,
    AdvancedErrorReporting,
    Express,
    LatencyTolerance,
    Msix,
    PageRequest,
    Pasid,
    PortType,
    PowerManagement,
    ProcessingHints,
    SiovDvsec,
    VirtualChannel,
)

CHAIN = [
    (0x40, "Express (v2) root complex integrated endpoint", 0x80),
    (0x80, "MSI-X", 0x90),
    (0x90, "Power Management", 0),
    (0x100, "Advanced Error Reporting", 0x150),
    (0x150, "Latency Tolerance Reporting", 0x160),
    (0x160, "Transaction Processing Hints", 0x170),
    (0x170, "Virtual Channel", 0x200),
    (0x200, "Designated Vendor-Specific", 0x220),
    (0x220, "Address Translation Service (ATS)", 0x230),
    (0x230, "Process Address Space ID (PASID)", 0x240),
    (0x240, "Page Request Interface (PRI)", 0),
]


@pytest.fixture
def capabilities() -> Capabilities:
    return decode(ConfigSpace(SPR_DSA, ConfigSource.SYSFS))


def test_both_lists_are_followed_to_their_ends(capabilities: Capabilities) -> None:
    assert [(one.offset, one.title, one.next) for one in capabilities] == CHAIN
    assert capabilities.diagnoses == ()
    assert capabilities.complete
    assert {one.source for one in capabilities} == {"sysfs"}


def test_express_says_flr(capabilities: Capabilities) -> None:
    express = capabilities.express
    assert express is not None
    assert express.kind is PortType.ROOT_COMPLEX_INTEGRATED_ENDPOINT
    assert (express.express_version, express.flr, express.extended_tag, express.role_based_errors) == (
        2,
        True,
        True,
        True,
    )
    assert 128 << express.max_payload_supported == 512
    assert (express.relaxed_ordering_enable, express.no_snoop_enable, express.extended_tag_enable) == (True, True, True)
    assert 128 << express.max_read_request == 512
    assert express.completion_timeout_disable_supported is True
    assert express.ltr_supported is True


def test_msix_has_nine_vectors_in_bar_0(capabilities: Capabilities) -> None:
    msix = capabilities.msix
    assert msix is not None
    assert (msix.vectors, msix.enabled, msix.masked) == (9, True, False)
    assert (msix.table, msix.table_size) == ((0, 0x2000), 144)
    assert (msix.pba, msix.pba_size) == ((0, 0x3000), 8)


def test_the_siov_dvsec_says_ims(capabilities: Capabilities) -> None:
    dvsec = capabilities.siov_dvsec
    assert dvsec is not None
    assert (dvsec.offset, dvsec.vendor, dvsec.dvsec_id, dvsec.revision, dvsec.length) == (0x200, 0x8086, 5, 0, 24)
    assert dvsec.ims is True
    assert (dvsec.supported_page_sizes, dvsec.system_page_size) == (1, 1)
    assert (dvsec.function_dependency_link, dvsec.homogeneous) == (0, False)
    notes = {item.name: item.note for item in dvsec.fields()}
    assert not notes["ims"]
    assert "not re-read" in notes["supported_page_sizes"]


def test_the_rest_of_the_extended_capabilities(capabilities: Capabilities) -> None:
    aer, ats, pasid, pri = capabilities.aer, capabilities.ats, capabilities.pasid, capabilities.pri
    assert aer is not None
    assert ats is not None
    assert pasid is not None
    assert pri is not None
    assert (aer.version, aer.size, aer.uncorrectable) == (2, 0x48, 0)
    assert (ats.queue_depth, ats.page_aligned, ats.global_invalidate, ats.enabled) == (32, True, True, False)
    assert (pasid.width, pasid.executable, pasid.privileged, pasid.enabled) == (20, False, True, False)
    assert (pri.capacity, pri.stopped, pri.response_pasid_required) == (512, True, True)
    hints, channel, power = (capabilities.find(kind) for kind in (ProcessingHints, VirtualChannel, PowerManagement))
    assert isinstance(hints, ProcessingHints)
    assert (hints.no_tag_mode, hints.device_specific_mode, hints.steering_tags) == (True, True, None)
    assert isinstance(channel, VirtualChannel)
    assert [(one.vc_id, one.enabled, one.traffic_classes) for one in channel.resources] == [(0, True, 0xFF)]
    assert isinstance(power, PowerManagement)
    assert (power.pm_version, power.no_soft_reset, power.power_state) == (3, True, 0)
    assert capabilities.msi is None
    assert capabilities.sriov is None
    assert capabilities.siov is None


def test_no_bit_is_dropped_in_print_and_json(capabilities: Capabilities) -> None:
    for one in capabilities:
        assert not [item for item in one.fields() if item.name.startswith("undeclared")], str(one)
    plain = json.loads(json.dumps(capabilities.to_json()))
    assert plain["source"] == "sysfs"
    assert plain["readable"] == 4096
    siov = next(item for item in plain["capabilities"] if item["offset"] == 0x200)
    assert siov["fields"]["ims"] is True
    assert siov["data"] == SPR_DSA[0x200:0x218].hex()
    assert str(capabilities.at(0x80)).startswith("[80] MSI-X: last_vector=8 enabled=+ table_offset=0x2000")


def test_ims_bit_clear_is_a_no() -> None:
    hint = ims_hint(decode(ConfigSpace(dumps.SPR_DSA_IMS_CLEAR, ConfigSource.SYSFS)))
    assert (hint.answer, hint.text) == (False, "Intel SIOV DVSEC at 0x200 (sysfs): IMS bit clear")


def test_no_dvsec_is_a_no_when_all_could_be_read() -> None:
    capabilities = decode(ConfigSpace(dumps.SPR_DSA_NO_DVSEC, ConfigSource.SYSFS))
    assert capabilities.siov_dvsec is None
    assert capabilities.diagnoses == ()
    assert ims_hint(capabilities).answer is False


def test_another_vendors_dvsec_with_the_same_id_is_not_taken_for_intels() -> None:
    capabilities = decode(ConfigSpace(dumps.SPR_DSA_SECOND_VENDOR, ConfigSource.SYSFS))
    assert [(one.vendor, one.offset) for one in capabilities.dvsecs] == [(0x10DE, 0x300), (0x8086, 0x200)]
    assert capabilities.siov_dvsec is not None
    assert capabilities.siov_dvsec.offset == 0x200
    assert ims_hint(capabilities).answer is True


def spr_dsa_image() -> ConfigImage:
    return (
        ConfigBuilder(0x8086, 0x0B25, class_code=0x088000, revision=0, subsystem=(0x8086, 0))
        .bar(0, 0x10000, kind="mem64", prefetchable=True)
        .bar(2, 0x20000, kind="mem64", prefetchable=True)
        .add(Express.new(PortType.ROOT_COMPLEX_INTEGRATED_ENDPOINT, max_payload=512, ltr=True), at=0x40)
        .add(Msix.new(9, table=(0, 0x2000), pba=(0, 0x3000)), at=0x80)
        .add(PowerManagement.new(), at=0x90)
        .add(AdvancedErrorReporting.new(version=2), at=0x100)
        .add(LatencyTolerance.new(), at=0x150)
        .add(ProcessingHints.new(), at=0x160)
        .add(VirtualChannel.new(), at=0x170)
        .add(SiovDvsec.new(), at=0x200)
        .add(AddressTranslation.new(32), at=0x220)
        .add(Pasid.new(20), at=0x230)
        .add(PageRequest.new(512), at=0x240)
        .build()
    )


def test_the_builder_makes_the_same_map() -> None:
    image = spr_dsa_image()
    built = decode(image.space())
    assert [(one.offset, one.title, one.next) for one in built] == CHAIN
    assert built.diagnoses == ()
    assert len(image.data) == len(image.writable) == len(image.w1c) == 4096
    assert [(bar.index, bar.size) for bar in image.bars] == [(0, 0x10000), (2, 0x20000)]
    # The listing shows the device as firmware and driver left it, and says nothing of error masks. Set these alike,
    # and every byte is the same.
    running = bytearray(image.data)
    image.write(running, 0x04, bytes.fromhex("4601"))
    image.write(running, 0x10, SPR_DSA[0x10:0x20])
    image.write(running, 0x82, bytes.fromhex("0880"))
    image.write(running, 0x108, bytes(8))
    image.write(running, 0x114, bytes(4))
    assert running == SPR_DSA

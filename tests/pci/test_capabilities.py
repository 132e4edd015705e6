# SPDX-License-Identifier: Apache-2.0
"""Each kind of capability from bytes, in all its forms."""

import pytest

from tests.pci.dumps import assemble
from vfio_ims.errors import UsageError
from vfio_ims.pci import Capabilities, ConfigSource, ConfigSpace, decode, is_model
from vfio_ims.pci import capabilities as caps


def standard(text: str, size: int = 256) -> Capabilities:
    """A function whose only standard capability is at 0x50."""
    return decode(ConfigSpace(assemble({0x00: "34125a1a00001000", 0x34: "50", 0x50: text}, size)))


def extended(text: str) -> Capabilities:
    """A function whose only extended capability is at 0x100."""
    return decode(ConfigSpace(assemble({0x00: "34125a1a", 0x100: text})))


def test_every_id_of_the_lists_has_a_name_and_decodes() -> None:
    for number, name in caps.STANDARD_IDS.items():
        found = standard(f"{number:02x}00" + "00" * 60)
        assert len(found) == 1
        assert found.standard[0].title.startswith(name.title)
        assert found.standard[0].known == name
    for number, name in caps.EXTENDED_IDS.items():
        if number:
            found = extended(f"{number:02x}000100" + "00" * 60)
            assert [one.title for one in found] == [name.title]
    assert extended("ee0f0100").extended[0].title == "Capability ID 0x0fee"
    assert standard("7700").standard[0].title == "Capability ID 0x0077"


@pytest.mark.parametrize(
    ("text", "size", "address", "data", "mask", "pending"),
    [
        ("0500 0100 0010e0fe 2a00", 10, 0xFEE01000, 0x2A, None, None),
        ("0500 8100 0010e0fe 01000000 2a00", 14, 0x1_FEE01000, 0x2A, None, None),
        ("0500 0101 0010e0fe 2a00 0000 03000000 01000000", 20, 0xFEE01000, 0x2A, 3, 1),
        ("0500 8101 0010e0fe 01000000 2a00 0000 03000000 02000000", 24, 0x1_FEE01000, 0x2A, 3, 2),
    ],
)
def test_msi_in_its_four_forms(
    text: str, size: int, address: int, data: int, mask: int | None, pending: int | None
) -> None:
    msi = standard(text).msi
    assert msi is not None
    assert (msi.size, msi.enabled, msi.address, msi.message_data) == (size, True, address, data)
    assert (msi.mask, msi.pending) == (mask, pending)


def test_msi_counts_its_vectors() -> None:
    msi = standard("0500 2800 00000000 0000").msi
    assert msi is not None
    assert (msi.vectors, msi.vectors_enabled) == (16, 4)


def test_express_leaves_out_what_its_version_has_not() -> None:
    one = standard("1000 0100 00000000 00000000 12640000 00001210").express
    assert one is not None
    assert (one.title, one.ltr_supported) == ("Express (v1) endpoint", None)
    assert (one.max_link_speed, one.max_link_width, one.link_speed, one.link_width) == (2, 1, 2, 1)
    integrated = standard("1000 9100 00000010 00000000 0900 0000").find(caps.Express)
    assert integrated is not None
    assert integrated.flr


def test_vendor_specific_keeps_the_vendors_bytes() -> None:
    (found,) = standard("0900 08 0102030405").find_all(caps.VendorSpecific)
    assert (found.length, found.body) == (8, bytes([1, 2, 3, 4, 5]))
    (wide,) = extended("0b000100 34120201 abcd0000 00000000").find_all(caps.ExtendedVendorSpecific)
    assert (wide.vsec_id, wide.vsec_revision, wide.length) == (0x1234, 2, 0x10)
    assert wide.body == bytes.fromhex("abcd000000000000")


def test_the_model_mark_differs_from_other_vendor_capabilities() -> None:
    text = "0900 0d" + b"vfio-ims".hex() + "01 03"
    mark = is_model(standard(text))
    assert mark is not None
    assert (mark.mark_version, mark.store_in_pieces, mark.accepts_enqcmd) == (1, True, True)
    assert is_model(standard("0900 0d" + b"vfio-imz".hex() + "01 03")) is None
    assert is_model(standard("0900 0b" + b"vfio-ims".hex() + "01 03")) is None
    made = caps.ModelMark.new(store_in_pieces=False, accepts_enqcmd=True)
    assert made.data.hex() == "09000d" + b"vfio-ims".hex() + "0102"


@pytest.mark.parametrize(("length", "ims"), [(0x18, True), (0x15, True), (0x40, True), (0x14, None), (0x0C, None)])
def test_the_siov_dvsec_may_have_any_length(length: int, ims: bool | None) -> None:
    body = "0500 0000 01000000 01000000 01" + "00" * 60
    found = extended(f"23000100 8680 {(length << 4).to_bytes(2, 'little').hex()} {body}").siov_dvsec
    assert found is not None
    assert (found.size, found.ims) == (length, ims)


def test_advanced_errors_are_named() -> None:
    aer = extended(
        "01000200 00401000 00004000 30204600 41200000 00e00000 b4000000 0f000001 00000002 00000003 00000004"
    ).aer
    assert aer is not None
    assert aer.uncorrectable == caps.Uncorrectable.COMPLETION_TIMEOUT | caps.Uncorrectable.UNSUPPORTED_REQUEST
    assert aer.correctable == caps.Correctable.RECEIVER | caps.Correctable.BAD_TLP | caps.Correctable.ADVISORY_NONFATAL
    texts = {item.name: item.text for item in aer.fields()}
    assert texts["uncorrectable_status"] == "completion_timeout, unsupported_request"
    assert texts["header_log"] == "0100000f 02000000 03000000 04000000"
    assert (aer.first_error, aer.ecrc_generation_capable, aer.ecrc_check_capable) == (0x14, True, True)


def test_sriov_counts_and_places_its_functions() -> None:
    found = extended(
        "10000100 02000000 0900 0000 1000 1000 0800 0000 0100 0200 0000 4149 53050000 01000000"
        + "0c000040 00000000" * 3
        + "03001000"
    ).sriov
    assert found is not None
    assert (found.ari_preserved, found.vf_enable, found.vf_memory_enable) == (True, True, True)
    assert (found.initial_vfs, found.total_vfs, found.vfs) == (16, 16, 8)
    assert (found.first_vf_offset, found.vf_stride, found.vf_device) == (1, 2, 0x4941)
    assert (found.supported_page_sizes, found.vf_bar0) == (0x553, 0x4000000C)
    assert (found.migration_state_bar, found.migration_state_offset) == (3, 0x100000)


def test_acs_has_its_vector_only_with_egress_control() -> None:
    plain, vector = extended("0d000100 5f00 1d00"), extended("0d000100 6021 2000 ffff0000 01000000")
    acs = plain.find(caps.AccessControl)
    assert acs is not None
    assert acs.source_validation
    assert acs.request_redirect_enable
    assert acs.egress_vector is None
    acs = vector.find(caps.AccessControl)
    assert acs is not None
    assert (acs.size, acs.egress_vector) == (16, 0xFFFF)


def test_a_steering_table_in_the_capability_is_read() -> None:
    hints = extended("17000100 02020200 01000000 1100 2200 3300").find(caps.ProcessingHints)
    assert hints is not None
    assert (hints.size, hints.steering_tags) == (18, "0011 0022 0033")


def test_latencies_are_in_nanoseconds() -> None:
    ltr = extended("18000100 0f10 001c").find(caps.LatencyTolerance)
    assert ltr is not None
    assert (ltr.max_snoop_ns, ltr.max_no_snoop_ns) == (15 * 1048576, None)


def test_the_siov_capability_of_pcie_7() -> None:
    found = extended("38000100 00000000 0001 00 01 0800 0100").siov
    assert found is not None
    assert (found.total_sdis, found.sdi_enabled, found.first_sdi_offset, found.sdi_stride) == (256, True, 8, 1)
    assert all("RFC" in item.note for item in found.fields())


def test_a_serial_number_prints_as_by_lspci() -> None:
    (found,) = extended("03000100 8877665544332211")
    assert found.fields()[0].text == "11-22-33-44-55-66-77-88"
    assert found.to_json()["fields"] == {"serial": "0x1122334455667788"}


def test_resizable_bars_say_their_sizes() -> None:
    found = extended("15000100 f0ff0000 40080000 f0ff0000 420c0000").find(caps.ResizableBar)
    assert found is not None
    assert found.resizable == "BAR0: 0x10000000 bytes, BAR2: 0x100000000 bytes"


def test_undeclared_bits_are_shown() -> None:
    (found,) = extended("1b000100 04940000")
    assert [(item.name, item.value) for item in found.fields() if item.name.startswith("und")] == [
        ("undeclared_04", 0x8000)
    ]


def test_a_build_refuses_what_does_not_fit() -> None:
    with pytest.raises(UsageError, match=r"field of Pasid must be one of .*, not 'widht'; did you mean 'width'\?"):
        caps.Pasid.make(8, widht=1)
    with pytest.raises(UsageError, match="width must be 0 to 0x1f, not 32"):
        caps.Pasid.make(8, width=32)
    with pytest.raises(UsageError, match=r"vectors must be 1 to 2048, not 0"):
        caps.Msix.new(0, (0, 0), (0, 0x1000))
    with pytest.raises(UsageError, match=r"table must be \(BAR 0 to 5, a multiple of 8\)"):
        caps.Msix.new(1, (0, 4), (0, 0x1000))
    with pytest.raises(UsageError, match="vectors must be a power of two up to 32, not 3"):
        caps.Msi.new(3)


def test_a_capability_says_who_answered() -> None:
    config = ConfigSpace(assemble({0x06: "1000", 0x34: "50", 0x50: "0100030008000000"}, 256), ConfigSource.VFIO)
    (power,) = decode(config)
    assert power.source == "VFIO"

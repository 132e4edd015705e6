# SPDX-License-Identifier: Apache-2.0
"""Damaged config space: what is wrong is said, what can be decoded is, and nothing crashes or hangs."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.pci.dumps import MSIX, SIOV, SPR_DSA, VC, assemble, spr_dsa_with
from vfio_ims.pci import Capabilities, ConfigSource, ConfigSpace, decode, ims_hint, is_model, pasid_hint
from vfio_ims.pci.capabilities import Fault, Msix, SiovDvsec


def of(data: bytes) -> Capabilities:
    return decode(ConfigSpace(data, ConfigSource.SYSFS))


def faults(found: Capabilities) -> list[tuple[Fault, int]]:
    return [(one.fault, one.offset) for one in found.diagnoses]


@pytest.mark.parametrize(
    ("change", "expected", "text"),
    [
        ({"x91": "40"}, (Fault.LOOP, 0x90), "pointer 0x40 leads back: the list is a loop"),
        ({"x91": "90"}, (Fault.LOOP, 0x90), "leads back"),
        ({"x34": "10"}, (Fault.INTO_HEADER, 0x34), "pointer 0x10 leads into the header"),
        ({"x91": "3c"}, (Fault.INTO_HEADER, 0x90), "leads into the header"),
        ({"x34": "42"}, (Fault.MISALIGNED, 0x34), "pointer 0x42 is not a multiple of 4"),
        ({"x91": "f0", "xf0": "ffffffff"}, (Fault.GARBAGE, 0xF0), "reads as all ones"),
        ({"x91": "fc", "xfc": "11000000"}, (Fault.PAST_END, 0xFC), "Msix of 12 bytes runs past the end"),
        ({"x91": "84", "x84": "01000000"}, (Fault.OVERLAP, 0x80), "Msix of 12 bytes overlaps the capability at 0x84"),
        ({"x240": "13000110"}, (Fault.LOOP, 0x240), "pointer 0x100 leads back"),
        ({"x240": "13000108"}, (Fault.INTO_HEADER, 0x240), "pointer 0x80 leads into the standard space"),
        ({"x240": "13003124"}, (Fault.MISALIGNED, 0x240), "pointer 0x243 is not a multiple of 4"),
        ({"x240": "13000190"}, (Fault.GARBAGE, 0x900), "reads as zero"),
        ({"x240": "130001ff", "xff0": "10000100"}, (Fault.PAST_END, 0xFF0), "SrIov of 64 bytes runs past the end"),
        ({"x204": "8680f0ff"}, (Fault.OVERLAP, 0x200), "SiovDvsec of 4095 bytes overlaps"),
        ({"x204": "86804000"}, (Fault.CONTENT, 0x200), "length 4 is less than the header's 10"),
        ({"x84": "07200000"}, (Fault.CONTENT, 0x80), "MSI-X table in BAR7, which cannot be"),
        ({"x234": "041f0000"}, (Fault.CONTENT, 0x230), "PASIDs of 31 bits; 20 is the most"),
    ],
)
def test_each_kind_of_damage_is_reported(change: dict[str, str], expected: tuple[Fault, int], text: str) -> None:
    found = of(spr_dsa_with(**change))
    assert expected in faults(found)
    assert any(text in one.text for one in found.diagnoses), [str(one) for one in found.diagnoses]


def test_what_comes_before_the_damage_is_still_decoded() -> None:
    found = of(spr_dsa_with(x91="40"))
    assert [one.offset for one in found.standard] == [0x40, 0x80, 0x90]
    assert found.siov_dvsec is not None
    assert found.siov_dvsec.ims is True
    assert not found.complete


def test_a_capability_cut_short_is_kept_as_bytes() -> None:
    found = of(spr_dsa_with(x91="fc", xfc="11000000"))
    assert found.standard[-1].title == "MSI-X"
    assert not isinstance(found.standard[-1], Msix)
    assert found.msix is not None
    assert found.msix.offset == MSIX


def test_a_length_past_the_end_keeps_what_is_there() -> None:
    found = of(spr_dsa_with(**{f"x{VC:x}": "020001fe", "xfe0": "23000100 8680f003 0500 0000 00000000 00000000 01"}))
    (dvsec,) = found.find_all(SiovDvsec)
    assert (dvsec.offset, dvsec.size, dvsec.length, dvsec.ims) == (0xFE0, 0x20, 0x3F, True)
    assert faults(found) == [(Fault.PAST_END, 0xFE0)]


def test_a_removed_function_is_reported_at_once() -> None:
    found = of(b"\xff" * 4096)
    assert (len(found), faults(found)) == (0, [(Fault.ABSENT, 0)])
    assert ims_hint(found).answer is None


def test_extended_space_that_repeats_the_standard_one_is_not_decoded() -> None:
    found = of(SPR_DSA[:256] * 16)
    assert faults(found) == [(Fault.ALIASED, 0x100)]
    assert found.extended == ()
    assert len(found.standard) == 3


def test_zero_or_ones_in_extended_space() -> None:
    assert faults(of(SPR_DSA[:256] + bytes(3840))) == []
    assert faults(of(SPR_DSA[:256] + b"\xff" * 3840)) == [(Fault.GARBAGE, 0x100)]


def test_a_capability_list_without_its_status_bit_is_no_list() -> None:
    assert of(assemble({0x34: "40", 0x40: "0100"}, 256)).standard == ()


def test_what_vfio_hides_at_the_front_does_not_end_the_list() -> None:
    # vfio_pci_config.c leaves a null header with the next pointer where the first capability is hidden.
    found = decode(ConfigSpace(spr_dsa_with(x100="00000020"), ConfigSource.VFIO))
    assert [one.title for one in found.extended][:2] == ["Null", "Designated Vendor-Specific"]
    assert found.diagnoses == ()
    assert not found.complete


def whole(found: Capabilities) -> None:
    """Everything a user may ask of what was decoded."""
    json.dumps(found.to_json())
    for one in found:
        str(one), one.fields(), one.access_masks(), one.version, one.known
        assert one.offset + one.size <= len(found.config)
        for name in dir(type(one)):
            if not name.startswith("_"):
                getattr(one, name)
    assert len({one.offset for one in found.standard}) == len(found.standard)
    for one in (found.pasid, found.msix, found.siov_dvsec, found.express, is_model(found)):
        assert one is None or one in tuple(found)
    assert ims_hint(found).text
    assert pasid_hint(found).text


@given(st.binary(min_size=64, max_size=4096), st.sampled_from(ConfigSource))
@example(bytes(64), ConfigSource.SYSFS_UNPRIVILEGED)
@example(b"\xff" * 4096, ConfigSource.VFIO)
@settings(max_examples=60)
def test_any_bytes_are_decoded_somehow(data: bytes, source: ConfigSource) -> None:
    config = ConfigSpace(data, source)
    config.bars()
    whole(decode(config))


@st.composite
def lists_of_anything(draw: st.DrawFn) -> bytes:
    """Headers that chain well enough to be followed, with any ids, lengths and pointers in them."""
    data = bytearray(draw(st.binary(min_size=64, max_size=64)) + bytes(4032))
    data[0x00:0x02], data[0x06], data[0x0E] = b"\x86\x80", 0x10, 0
    points = draw(st.lists(st.integers(0x10, 0x3FF), max_size=24))
    data[0x34] = draw(st.integers(0x40, 0xFF))
    for point in (0x10, 0x40, *points):
        at = 4 * point
        body = draw(st.binary(max_size=24))
        if at < 0x100:
            data[at : at + 2] = bytes([draw(st.integers(0, 0x16)), draw(st.integers(0, 255))])
            data[at + 2 : at + 2 + len(body)] = body
        else:
            header = draw(st.integers(0, 0x3B)) | draw(st.integers(0, 3)) << 16 | draw(st.integers(0, 0xFFF)) << 20
            data[at : at + 4] = header.to_bytes(4, "little")
            data[at + 4 : at + 4 + len(body)] = body
    return bytes(data[:4096])


@given(lists_of_anything())
@settings(max_examples=100)
def test_any_lists_are_followed_to_an_end(data: bytes) -> None:
    whole(of(data))


@given(st.lists(st.tuples(st.integers(0x34, 0x24F), st.integers(0, 255)), min_size=1, max_size=6))
@settings(max_examples=150)
def test_a_good_space_with_bytes_changed_is_decoded_somehow(changes: list[tuple[int, int]]) -> None:
    data = bytearray(SPR_DSA)
    for offset, value in changes:
        data[offset] = value
    whole(of(bytes(data)))


def test_the_longest_possible_list_ends() -> None:
    parts = {at: f"{0x0B | 1 << 16 | (at + 4 if at < 0xFFC else 0x100) << 20:08x}" for at in range(0x100, 0x1000, 4)}
    data = assemble({at: bytes.fromhex(text)[::-1].hex() for at, text in parts.items()})
    found = of(data)
    assert len(found.extended) == 960
    assert Fault.LOOP in {one.fault for one in found.diagnoses}


def test_the_dump_itself_is_sound() -> None:
    assert of(SPR_DSA).diagnoses == ()
    assert of(SPR_DSA).at(SIOV) is not None

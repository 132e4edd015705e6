# SPDX-License-Identifier: Apache-2.0
"""Addresses as people write them, and picking functions as lspci does."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vfio_ims.errors import UsageError
from vfio_ims.pci import IdSelector, PciAddress, Selector, SlotSelector

addresses = st.builds(
    PciAddress,
    st.one_of(st.integers(0, 0xFFFF), st.integers(0x10000, 0xFFFF_FFFF)),
    st.integers(0, 255),
    st.integers(0, 31),
    st.integers(0, 7),
)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("6a:01.0", "0000:6a:01.0"),
        ("0000:6a:01.0", "0000:6a:01.0"),
        ("6A:1.0", "0000:6a:01.0"),
        ("0:0:0.0", "0000:00:00.0"),
        ("10000:e1:00.0", "10000:e1:00.0"),
        ("ABCD:FF:1F.7", "abcd:ff:1f.7"),
        (" 6a:01.0\n", "0000:6a:01.0"),
    ],
)
def test_every_spelling_prints_canonically(text: str, canonical: str) -> None:
    assert str(PciAddress.parse(text)) == canonical
    assert PciAddress.looks_like(text)


@given(addresses)
def test_an_address_survives_printing_hashing_and_pickling(address: PciAddress) -> None:
    assert PciAddress.parse(str(address)) == address == eval(repr(address), {"PciAddress": PciAddress.parse})
    assert pickle.loads(pickle.dumps(address)) == address
    assert PciAddress.from_requester_id(address.requester_id, address.domain) == address
    assert {address: 1}[PciAddress.parse(str(address).upper())] == 1


def test_addresses_sort_as_the_bus_is_numbered() -> None:
    texts = ["0000:6a:02.0", "10000:00:00.0", "0000:6a:01.1", "0000:0a:1f.7", "0000:6a:01.0"]
    assert [str(a) for a in sorted(map(PciAddress.parse, texts))] == [
        "0000:0a:1f.7",
        "0000:6a:01.0",
        "0000:6a:01.1",
        "0000:6a:02.0",
        "10000:00:00.0",
    ]


def test_the_requester_id_is_what_travels_on_the_bus() -> None:
    assert PciAddress.parse("6a:01.3").requester_id == 0x6A0B
    assert PciAddress.parse("6a:01.3").devfn == 0x0B


@pytest.mark.parametrize("text", ["", "dsa0", "01.0", "6a:01", "6a:01.0.0", "0000:6a:01.0:1", "6g:01.0", "6a-01.0"])
def test_what_is_no_address_says_what_one_looks_like(text: str) -> None:
    with pytest.raises(UsageError, match=r"must be \[domain:\]bus:device\.function in hex, such as 0000:6a:01\.0, not"):
        PciAddress.parse(text)


@pytest.mark.parametrize(
    ("text", "part"), [("6a:20.0", "device must be 0 to 0x1f, not 0x20"), ("6a:01.8", "function must be 0 to 0x7")]
)
def test_a_number_out_of_range_names_its_part(text: str, part: str) -> None:
    with pytest.raises(UsageError, match=part):
        PciAddress.parse(text)


A, B, C, D = (PciAddress.parse(t) for t in ("0000:6a:01.0", "0000:6a:02.0", "0001:82:00.0", "0000:00:1f.3"))
EVERY = (A, B, C, D)


@pytest.mark.parametrize(
    ("text", "chosen"),
    [
        ("6a:01.0", {A}),
        ("6a:", {A, B}),
        ("6a:*", {A, B}),
        ("*:*:*.*", {A, B, C, D}),
        (".3", {D}),
        ("1f", {D}),
        ("01.0", {A}),
        ("1:82:00.0", {C}),
        ("82:00.*", {C}),
        ("0:82:", set()),
        ("0001::", {C}),
        ("0x6a:1.", {A}),
        ("6a:0[12].0", {A, B}),
        ("0000:6a:0?.0", {A, B}),
        ("*:1f.3", {D}),
        ("*1f.3", {D}),
        ("6A:01.0", {A}),
    ],
)
def test_slots_are_picked_as_by_lspci_s(text: str, chosen: set[PciAddress]) -> None:
    assert {a for a in EVERY if SlotSelector.parse(text).matches(a)} == chosen


@given(addresses, st.lists(st.booleans(), min_size=4, max_size=4))
def test_any_part_left_out_still_matches(address: PciAddress, given_parts: list[bool]) -> None:
    parts = [f"{address.domain:x}", f"{address.bus:x}", f"{address.device:x}", f"{address.function:x}"]
    domain, bus, device, function = (part if keep else "*" for part, keep in zip(parts, given_parts, strict=True))
    assert SlotSelector.parse(f"{domain}:{bus}:{device}.{function}").matches(address)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1:2:3:4.0", "a slot must be"),
        ("6a:01.0.1", "a slot must be"),
        ("6a:20.0", "device must be hex up to 1f"),
        ("6a:01.9", "function must be hex up to 7"),
        ("100:01.0", "bus must be hex up to ff"),
        ("zz", "device must be hex"),
    ],
)
def test_a_bad_slot_says_which_part(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SlotSelector.parse(text)


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("8086:", True),
        ("8086:0b25", True),
        (":0b25", True),
        ("*:*", True),
        ("8086:0cfe", False),
        ("::0880", True),
        ("::08xx", True),
        ("::x8x0", True),
        ("::880", True),
        ("::xx", False),
        ("::02xx", False),
        ("::0880:00", True),
        ("::0880:01", False),
        ("0x8086:0X0b25", True),
        (":::00", True),
    ],
)
def test_ids_are_picked_as_by_lspci_d(text: str, matches: bool) -> None:
    assert IdSelector.parse(text).matches(0x8086, 0x0B25, 0x088000) is matches


@pytest.mark.parametrize("text", ["8086", "8086:0b25:0880:00:1", "10000:", ":zz", "::08880", "::0g", ":::100"])
def test_bad_ids_say_what_they_must_be(text: str) -> None:
    with pytest.raises(UsageError, match="must be"):
        IdSelector.parse(text)


def test_slot_and_ids_together_must_both_match() -> None:
    selector = Selector.parse(slot="6a:", ids="8086:")
    assert selector.matches(A, 0x8086, 0x0B25, 0x088000)
    assert not selector.matches(A, 0x1234, 0x0B25, 0x088000)
    assert not selector.matches(C, 0x8086, 0x0B25, 0x088000)
    assert Selector.parse().matches(C, 1, 2, 3)

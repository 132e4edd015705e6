# SPDX-License-Identifier: Apache-2.0
"""Config space as built for models: what decoding finds again, and what a driver's writes do."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vfio_ims.errors import UsageError
from vfio_ims.pci import BarKind, BaseAddress, Command, ConfigBuilder, ConfigImage, ConfigSpace, decode
from vfio_ims.pci import capabilities as caps


def minimal() -> ConfigBuilder:
    return ConfigBuilder(0x1234, 0x1A55, class_code=0x088000).bar(0, 0x4000)


def probe(image: ConfigImage) -> dict[int, int]:
    """What each BAR register answers to all ones, as a kernel asks."""
    state = bytearray(image.data)
    image.write(state, 0x10, b"\xff" * 24)
    return {n: int.from_bytes(state[0x10 + 4 * n : 0x14 + 4 * n], "little") for n in range(6)}


def test_bars_answer_sizing_as_hardware_does() -> None:
    image = (
        ConfigBuilder(0x1234, 0x1A55)
        .bar(0, 0x10000, kind="mem64", prefetchable=True)
        .bar(2, 1 << 36, kind="mem64", prefetchable=True)
        .bar(4, 0x1000)
        .bar(5, 32, kind="io")
        .build()
    )
    assert [f"{mask:08x}" for mask in probe(image).values()] == [
        "ffff000c",
        "ffffffff",
        "0000000c",
        "fffffff0",
        "fffff000",
        "ffffffe1",
    ]
    assert image.space().bars(masks=probe(image)) == image.bars
    assert image.bars[1] == BaseAddress(2, BarKind.MEM64, True, 0, 1 << 36)


def test_an_address_is_kept_and_its_low_bits_are_not_touched() -> None:
    image = minimal().build()
    state = bytearray(image.data)
    image.write(state, 0x10, (0xF800_3FFF).to_bytes(4, "little"))
    assert ConfigSpace(bytes(state)).bars()[0].address == 0xF800_0000


def test_the_rom_answers_too() -> None:
    image = minimal().rom(0x10000).build()
    state = bytearray(image.data)
    image.write(state, 0x30, (0xFFFF_F800).to_bytes(4, "little"))
    assert state[0x30:0x34] == bytes.fromhex("0000ffff")


def test_ids_and_reserved_bits_do_not_take_writes() -> None:
    image = minimal().add(caps.Msix.new(4, (0, 0x2000), (0, 0x3000))).build()
    state = bytearray(image.data)
    image.write(state, 0, b"\xff" * len(state))
    header = ConfigSpace(bytes(state)).header
    assert (header.vendor, header.device, header.class_code) == (0x1234, 0x1A55, 0x088000)
    assert header.command == Command.MEMORY | Command.BUS_MASTER | Command.PARITY | Command.SERR
    msix = decode(ConfigSpace(bytes(state))).msix
    assert msix is not None
    assert (msix.enabled, msix.masked, msix.vectors, msix.table) == (True, True, 4, (0, 0x2000))


def test_writing_one_clears_status_and_writing_zero_does_not() -> None:
    image = minimal().add(caps.Express.new()).add(caps.AdvancedErrorReporting.new()).build()
    at = decode(image.space()).express
    assert at is not None
    status = at.offset + 0x0A
    state = bytearray(image.data)
    state[status] = 0x0F
    image.write(state, status, b"\x05\x00")
    assert state[status] == 0x0A
    state[0x104:0x108] = (1 << 20).to_bytes(4, "little")
    image.write(state, 0x104, bytes(4))
    assert state[0x104:0x108] != bytes(4)
    image.write(state, 0x106, b"\x10")
    assert state[0x104:0x108] == bytes(4)


def test_msi_takes_address_data_and_masks_only_of_its_vectors() -> None:
    image = minimal().add(caps.Msi.new(4, maskable=True), at=0x40).build()
    state = bytearray(image.data)
    image.write(state, 0x42, b"\xff" * 0x16)
    msi = decode(ConfigSpace(bytes(state))).msi
    assert msi is not None
    assert (msi.address, msi.message_data, msi.mask, msi.pending) == (0xFFFF_FFFF_FFFF_FFFC, 0xFFFF, 0xF, 0)
    assert (msi.vectors, msi.enabled) == (4, True)


def test_pasid_enables_only_what_it_can() -> None:
    image = minimal().add(caps.Express.new()).add(caps.Pasid.new(20, executable=False, privileged=True)).build()
    state = bytearray(image.data)
    image.write(state, 0x106, b"\xff\xff")
    assert state[0x106:0x108] == b"\x05\x00"


def test_capabilities_find_their_own_places() -> None:
    image = (
        minimal()
        .add(caps.PowerManagement.new())
        .add(caps.Msix.new(4, (0, 0x2000), (0, 0x3000)), at=0x40)
        .add(caps.Express.new())
        .add(caps.SiovDvsec.new(), at=0x200)
        .add(caps.Pasid.new())
        .build()
    )
    found = decode(image.space())
    assert [(type(one), one.offset) for one in found] == [
        (caps.PowerManagement, 0x4C),
        (caps.Msix, 0x40),
        (caps.Express, 0x54),
        (caps.Pasid, 0x100),
        (caps.SiovDvsec, 0x200),
    ]
    assert found.diagnoses == ()


def test_the_extended_list_starts_at_0x100_even_if_nothing_is_there() -> None:
    image = minimal().add(caps.Express.new()).add(caps.SiovDvsec.new(), at=0x200).build()
    found = decode(image.space())
    assert [(one.title, one.offset, one.next) for one in found.extended] == [
        ("Null", 0x100, 0x200),
        ("Designated Vendor-Specific", 0x200, 0),
    ]
    assert found.diagnoses == ()


def test_a_function_without_express_has_256_bytes() -> None:
    assert len(minimal().build().data) == 256
    assert len(minimal().add(caps.Express.new()).build().data) == 4096
    assert not minimal().build().space().header.has_capabilities


MSIX = caps.Msix.new(4, (0, 0x2000), (0, 0x3000))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: ConfigBuilder(0x12345, 0), "vendor must fit in 16 bits, not 0x12345"),
        (lambda: ConfigBuilder(1, 1, interrupt_pin="E"), "interrupt_pin must be A, B, C, D or None"),
        (lambda: minimal().bar(1, 0x3000), "size of BAR1 must be a power of two"),
        (lambda: minimal().bar(1, 8), "size of BAR1 must be a power of two, 16 to"),
        (lambda: minimal().bar(1, 512, kind="io"), "size of BAR1 must be a power of two, 4 to 0x100"),
        (lambda: minimal().bar(0, 0x1000), "BAR0 as mem32 must fit in free registers"),
        (lambda: minimal().bar(5, 0x1000, kind="mem64"), "BAR5 as mem64 must fit in free registers"),
        (lambda: minimal().bar(1, 0x1000, kind="mem16"), "BAR kind must be io, mem32 or mem64"),
        (lambda: minimal().rom(100), "size of the ROM must be a power of two"),
        (lambda: minimal().add(MSIX, at=0x42).build(), "must be a multiple of 4 in 0x40 to 0x100, with room, not 0x42"),
        (lambda: minimal().add(MSIX, at=0x3C).build(), "must be a multiple of 4 in 0x40"),
        (lambda: minimal().add(MSIX, at=0xF8).build(), "with room, not 0xf8"),
        (
            lambda: minimal().add(MSIX, at=0x80).add(caps.PowerManagement.new(), at=0x88).build(),
            "Power Management at 0x88, 0x8 bytes, must not overlap",
        ),
        (lambda: minimal().add(caps.VendorSpecific.of(bytes(200))).build(), "must fit between 0x40 and 0x100"),
        (lambda: minimal().add(caps.Pasid.new()).build(), "extended capabilities need a PCI Express capability"),
        (lambda: minimal().add(caps.Msix.new(4, (1, 0), (0, 0))).build(), "MSI-X table at BAR1.* must lie in a memory"),
        (lambda: minimal().add(caps.Msix.new(4, (0, 0x3FF0), (0, 0))).build(), "MSI-X table .* must lie in a memory"),
        (lambda: minimal().add(caps.Msix.new(4, (0, 0), (0, 0x38))).build(), "must not overlap the PBA"),
    ],
)
def test_what_hardware_could_not_have_is_refused(wrong: object, message: str) -> None:
    assert callable(wrong)
    with pytest.raises(UsageError, match=message):
        wrong()


def test_a_write_outside_of_config_space_is_refused() -> None:
    image = minimal().build()
    with pytest.raises(UsageError, match="must lie within 0x100 bytes"):
        image.write(bytearray(image.data), 0xFE, bytes(4))


capabilities = st.one_of(
    st.builds(caps.Msi.new, st.sampled_from([1, 2, 4, 8, 16, 32]), wide=st.booleans(), maskable=st.booleans()),
    st.builds(caps.Msix.new, st.integers(1, 64), table=st.just((0, 0x2000)), pba=st.just((0, 0x3000))),
    st.builds(caps.PowerManagement.new, no_soft_reset=st.booleans()),
    st.builds(caps.VendorSpecific.of, st.binary(max_size=20)),
    st.builds(caps.ModelMark.new, store_in_pieces=st.booleans(), accepts_enqcmd=st.booleans()),
    st.builds(caps.ExtendedVendorSpecific.new, st.integers(0, 0xFFFF), st.binary(max_size=40)),
    st.builds(caps.Dvsec.of, st.just(0x10DE), st.integers(0, 0xFFFF), st.binary(max_size=40)),
    st.builds(caps.SiovDvsec.new, ims=st.booleans(), length=st.sampled_from([0x0C, 0x14, 0x18, 0x20])),
    st.builds(caps.AdvancedErrorReporting.new, version=st.integers(1, 3)),
    st.builds(caps.LatencyTolerance.new),
    st.builds(caps.AddressTranslation.new, st.integers(1, 32)),
    st.builds(caps.PageRequest.new, st.integers(0, 0xFFFF_FFFF)),
    st.builds(caps.Pasid.new, st.integers(0, 20), executable=st.booleans(), privileged=st.booleans()),
    st.builds(caps.ProcessingHints.new, entries=st.integers(0, 20)),
    st.builds(caps.VirtualChannel.new),
    st.builds(caps.SrIov.new, st.integers(0, 0xFFFF), st.integers(0, 0xFFFF)),
    st.builds(caps.ScalableIov.new, st.integers(0, 0xFFFF)),
    st.builds(caps.SerialNumber.new, st.integers(0, 2**64 - 1)),
    st.builds(caps.AlternativeRouting.new, st.integers(0, 255)),
    st.builds(caps.AccessControl.new, request_redirect=st.booleans()),
)


def without_next(one: caps.Capability) -> tuple[type[caps.Capability], bytes]:
    """Its class and bytes, as far as they do not depend on its place."""
    data = bytearray(one.data)
    if one.extended:
        data[3], data[2] = 0, data[2] & 0xF
    else:
        data[1] = 0
    # Root registers follow in a port's version 1; nothing in the capability itself shows that an endpoint has none.
    return type(one), bytes(data[:0x2C] if isinstance(one, caps.AdvancedErrorReporting) else data)


@given(st.lists(capabilities, max_size=8))
@settings(max_examples=60)
def test_what_is_built_is_found_again(wanted: list[caps.Capability]) -> None:
    builder = minimal().add(caps.Express.new())
    for one in wanted:
        builder.add(one)
    image = builder.build()
    found = decode(image.space())
    assert found.diagnoses == ()
    ours = [without_next(one) for one in wanted]
    standard, extended = ([without_next(one) for one in side] for side in (found.standard, found.extended))
    assert standard[1:] == [one for one in ours if not one[0].extended]
    assert extended == [one for one in ours if one[0].extended]


@given(st.lists(capabilities, max_size=6), st.integers(0, 255), st.binary(min_size=1, max_size=64))
@settings(max_examples=60)
def test_writes_change_writable_bits_only(wanted: list[caps.Capability], offset: int, data: bytes) -> None:
    builder = minimal().add(caps.Express.new())
    for one in wanted:
        builder.add(one)
    image = builder.build()
    state = bytearray(image.data)
    image.write(state, offset, data)
    for at, (before, after) in enumerate(zip(image.data, state, strict=True)):
        assert not (before ^ after) & ~(image.writable[at] | image.w1c[at])
        assert not image.writable[at] & image.w1c[at]
        if offset <= at < offset + len(data):
            assert after & image.writable[at] == data[at - offset] & image.writable[at]

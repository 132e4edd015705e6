# SPDX-License-Identifier: Apache-2.0
"""The header and the BARs of a function, and how much of its config space there is."""

import pytest

from tests.pci.dumps import SPR_DSA, assemble
from vfio_ims.errors import UsageError
from vfio_ims.pci import BarKind, BaseAddress, Command, ConfigSource, ConfigSpace, HeaderType


def test_the_header_of_a_dsa() -> None:
    header = ConfigSpace(SPR_DSA).header
    assert (header.vendor, header.device, header.revision) == (0x8086, 0x0B25, 0)
    assert header.class_code == 0x088000
    assert header.command == Command.MEMORY | Command.BUS_MASTER | Command.PARITY | Command.SERR
    assert header.kind is HeaderType.NORMAL
    assert not header.multifunction
    assert (header.subsystem_vendor, header.subsystem_device) == (0x8086, 0)
    assert header.interrupt_pin is None


@pytest.mark.parametrize(
    ("size", "source", "standard", "extended"),
    [
        (64, ConfigSource.SYSFS_UNPRIVILEGED, False, False),
        (256, ConfigSource.SYSFS, True, False),
        (4096, ConfigSource.VFIO, True, True),
    ],
)
def test_it_says_how_much_there_is_and_who_answered(
    size: int, source: ConfigSource, standard: bool, extended: bool
) -> None:
    config = ConfigSpace(SPR_DSA[:size], source)
    assert (config.standard_readable, config.extended_readable) == (standard, extended)
    assert len(config) == size
    assert str(source) in repr(config)


@pytest.mark.parametrize("size", [0, 63, 4097])
def test_other_sizes_are_refused(size: int) -> None:
    with pytest.raises(UsageError, match=f"must be 64 to 4096 bytes, not {size}"):
        ConfigSpace(bytes(size))


def test_reads_beyond_what_there_is_are_refused() -> None:
    config = ConfigSpace(SPR_DSA[:64], ConfigSource.SYSFS_UNPRIVILEGED, device="0000:6a:01.0")
    assert config.read(0, 4) == 0x0B258086
    with pytest.raises(UsageError, match=r"0000:6a:01\.0: read config space: offset must be within the 0x40 bytes"):
        config.read(0x40, 1)
    with pytest.raises(UsageError, match="width must be 1, 2, 4 or 8, not 3"):
        config.read(0, 3)


def test_a_removed_function_is_absent() -> None:
    assert ConfigSpace(b"\xff" * 4096).absent
    assert not ConfigSpace(SPR_DSA).absent


def test_bars_take_their_sizes_from_the_resource_file() -> None:
    assert ConfigSpace(SPR_DSA).bars(sizes={0: 0x10000, 1: 0, 2: 0x20000}) == (
        BaseAddress(0, BarKind.MEM64, True, 0x20CC_FF00_0000, 0x10000),
        BaseAddress(2, BarKind.MEM64, True, 0x20CC_FF10_0000, 0x20000),
    )


def test_bars_take_their_sizes_from_probed_masks() -> None:
    data = assemble({0x0E: "00", 0x10: "0c00", 0x18: "00000000", 0x1C: "01e00000", 0x20: "000000f8"}, 64)
    masks = {0: 0x0000_000C, 1: 0xFFFF_FFF0, 2: 0xFFFF_F000, 3: 0xFFFF_FFE1, 4: 0xFF00_0000, 5: 0}
    assert ConfigSpace(data).bars(masks=masks) == (
        BaseAddress(0, BarKind.MEM64, True, 0, 1 << 36),
        BaseAddress(2, BarKind.MEM32, False, 0, 0x1000),
        BaseAddress(3, BarKind.IO, False, 0xE000, 32),
        BaseAddress(4, BarKind.MEM32, False, 0xF800_0000, 1 << 24),
    )


def test_an_unassigned_bar_is_seen_once_its_size_is_known() -> None:
    config = ConfigSpace(bytes(64))
    assert config.bars() == ()
    assert [bar.size for bar in config.bars(sizes={1: 0x4000})] == [0x4000]


def test_a_bridge_has_two_bars_and_no_subsystem() -> None:
    data = assemble({0x0E: "01", 0x10: "000000f8", 0x14: "000000f9", 0x18: "00010100"}, 64)
    config = ConfigSpace(data)
    assert config.header.kind is HeaderType.BRIDGE
    assert config.header.subsystem_vendor is None
    assert [bar.index for bar in config.bars()] == [0, 1]


def test_a_64_bit_bar_without_a_second_register_is_no_bar() -> None:
    assert ConfigSpace(assemble({0x24: "040000f8"}, 64)).bars() == ()
    assert ConfigSpace(assemble({0x0E: "7f", 0x10: "040000f8"}, 64)).bars() == ()


def test_a_bar_prints_in_words() -> None:
    bars = ConfigSpace(SPR_DSA).bars(sizes={0: 0x10000})
    assert str(bars[0]) == "BAR0: mem64 prefetchable, 0x10000 bytes, at 0x20ccff000000"
    assert str(bars[1]) == "BAR2: mem64 prefetchable, size unknown, at 0x20ccff100000"

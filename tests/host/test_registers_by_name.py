# SPDX-License-Identifier: Apache-2.0
"""read and write: setpci's spelling, drivers' names, decoded values, and what is refused."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from click.testing import CliRunner

import vfio_ims
from tests.host.box import DSA, Box
from tests.pci.dumps import SPR_DSA
from vfio_ims.cli.main import cli
from vfio_ims.errors import AccessDenied, DeviceBusy, DeviceError, UsageError
from vfio_ims.families import blocks_of, family_for
from vfio_ims.host.register_access import OpenRegisters, SysfsRegisters, decoded
from vfio_ims.host.register_names import Place, find_register, parse_write
from vfio_ims.pci import ConfigSpace
from vfio_ims.pci.capabilities import decode
from vfio_ims.registers import Block, Register, Repeat

CAPABILITIES = decode(ConfigSpace(SPR_DSA))
DSA_BLOCKS = blocks_of(family_for(0x8086, 0x0B25))
MINIMAL_BLOCKS = blocks_of(family_for(0x1234, 0x1A55))


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("COMMAND", (None, 4, 2)),
        ("4.W", (None, 4, 2)),
        ("cap_msix+2.w", (None, 0x82, 2)),
        ("ECAP23+14.L", (None, 0x214, 4)),
        ("BAR0+1000.L", (0, 0x1000, 4)),
        ("bar2+0x18.q", (2, 0x18, 8)),
        ("GENCAP", (0, 0x10, 8)),
        ("BAR0.GENCAP", (0, 0x10, 8)),
        ("gencap", (0, 0x10, 8)),
    ],
)
def test_spelling(text: str, place: tuple[int | None, int, int]) -> None:
    found = find_register(text, CAPABILITIES, DSA_BLOCKS)
    assert (found.bar, found.offset, found.width) == place


def test_a_name_that_both_have_is_asked_back_with_both_full_names() -> None:
    for name in ("STATUS", "status"):
        with pytest.raises(UsageError, match=r"the name of 2 registers: CONFIG\.STATUS, BAR0\.STATUS") as caught:
            find_register(name, CAPABILITIES, MINIMAL_BLOCKS)
        assert caught.value.hint == "name one of them"
    assert find_register("CONFIG.STATUS", CAPABILITIES, MINIMAL_BLOCKS).bar is None
    assert find_register("config.status", CAPABILITIES, MINIMAL_BLOCKS).offset == 6
    assert find_register("STATUS", CAPABILITIES, {}).bar is None
    assert find_register("BAR0.STATUS", CAPABILITIES, MINIMAL_BLOCKS).offset == 0x10


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("GENCAPP", "did you mean 'GENCAP'"),
        ("BAR0.NOPE", "register must be one of"),
        ("BAR0+2.L", "multiple of 4"),
        ("BAR7+0.L", "not 'BAR7"),
        ("CAP_MSI+0.W", "the function has none: MSI"),
    ],
)
def test_what_is_not_there(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        find_register(text, CAPABILITIES, DSA_BLOCKS)


def test_writes_with_masks_and_rows() -> None:
    (write,) = parse_write("COMMAND=2:6", CAPABILITIES, {})
    assert (write.value, write.mask, write.merged(0xFF)) == (2, 6, 0xFB)
    rows = parse_write("BAR0+10.L=1,0x2,ff", CAPABILITIES, {})
    assert [(one.place.offset, one.value, one.mask) for one in rows] == [
        (0x10, 1, None),
        (0x14, 2, None),
        (0x18, 255, None),
    ]
    for text, why in (("COMMAND", "REGISTER=VALUE"), ("4.B=100", "does not fit"), ("4.B=xyz", "must be hex")):
        with pytest.raises(UsageError, match=why):
            parse_write(text, CAPABILITIES, {})


def test_values_are_put_in_words() -> None:
    def words(text: str, value: int) -> str:
        return decoded(find_register(text, CAPABILITIES, DSA_BLOCKS), value, CAPABILITIES)

    assert words("COMMAND", 6) == "memory bus_master"
    assert words("STATUS", 0x10) == "capabilities"
    assert words("CAP_MSIX+2.W", 0x8008) == "MSI-X: last_vector=0x8 masked=0x0 enabled=0x1"
    assert words("ECAP23+14.L", 1).endswith("ims=0x1")
    assert "major=0x1" in words("VERSION", 0x100)
    assert words("BAR0+9000.L", 5) == ""


@pytest.fixture
def sysfs(box: Box) -> SysfsRegisters:
    box.healthy()
    # The resource file of a BAR is the BAR; here a file stands for it.
    box.dsa(driver="vfio-pci", bars={0: 0x10000}, config=SPR_DSA[:4] + struct.pack("<H", 2) + SPR_DSA[6:])
    box.tree.file(f"bus/pci/devices/{DSA}/resource0", bytes(0x10000))
    function = box.machine.function(DSA)
    assert function is not None
    return SysfsRegisters(function)


def test_through_sysfs_the_device_is_left_as_it_is(sysfs: SysfsRegisters) -> None:
    command = find_register("COMMAND", sysfs.capabilities, {})
    assert sysfs.read(command) == 2
    sysfs.write(command, 6)
    assert sysfs.read(command) == 6
    register = Place(0, 0x5008, 8, "x")
    sysfs.write(register, 0x1122334455667788)
    assert sysfs.read(register) == 0x1122334455667788
    with pytest.raises(UsageError, match="MSI-X table"):
        sysfs.write(Place(0, 0x2000, 4, "x"), 1)
    with pytest.raises(UsageError, match="no such BAR"):
        sysfs.read(Place(4, 0, 4, "x"))
    sysfs.close()


def test_what_this_user_may_not_see(box: Box) -> None:
    box.dsa(config=SPR_DSA[:64], bars={0: 0x1000})
    function = box.machine.function(DSA)
    assert function is not None
    registers = SysfsRegisters(function)
    with pytest.raises(AccessDenied, match="shows this user 64 bytes"):
        registers.read(Place(None, 0x82, 2, "x"))


def test_a_bar_that_does_not_decode_is_not_touched(box: Box) -> None:
    box.dsa(bars={0: 0x1000}, config=SPR_DSA[:4] + bytes(2) + SPR_DSA[6:])
    function = box.machine.function(DSA)
    assert function is not None
    with pytest.raises(DeviceError, match="memory decoding is off") as refused:
        SysfsRegisters(function).read(Place(0, 0, 4, "x"))
    assert "COMMAND=2:2" in refused.value.hint


def test_of_an_open_device() -> None:
    with vfio_ims.open("mock:minimal") as device:
        registers = OpenRegisters(device)
        assert registers.read(find_register("ID", registers.capabilities, MINIMAL_BLOCKS)) == 0x494D5331
        with pytest.raises(UsageError, match="MSI-X table"):
            registers.write(Place(0, 0x2000, 4, "x"), 1)


def run(*words: str) -> str:
    result = CliRunner().invoke(cli, words, standalone_mode=False, catch_exceptions=False)
    assert result.return_value in (0, None), result
    return result.stdout


def test_the_verbs() -> None:
    assert run("read", "mock:minimal", "ID", "CAP_MSIX+2.W").splitlines() == [
        "BAR0.ID = 494d5331",
        "CAP_MSIX+2.W = 0003  MSI-X: last_vector=0x3 masked=0x0 enabled=0x0",
    ]
    wide, narrow = json.loads(run("read", "mock:intel-dsa", "GENCAP", "COMMAND", "--json"))["registers"]
    assert int(wide["value"], 16) >> 32  # beyond what every parser keeps: text
    assert isinstance(narrow["value"], int)
    assert "would write BAR0+8.L" in run("write", "mock:minimal", "FIRE=1", "-n")
    assert "bus_master" in run("write", "mock:minimal", "COMMAND=4:4")
    assert "BAR0.FIRE         +8, 32 bits, wo" in run("read", "mock:minimal")


def test_the_verbs_through_sysfs(box: Box, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from vfio_ims import host

    box.healthy()
    monkeypatch.setattr(host, "Machine", lambda: box.machine)
    assert run("read", DSA, "VENDOR_ID") == "VENDOR_ID = 8086\n"
    assert "0000" in run("write", DSA, "COMMAND=0", "-n")
    before = (box.root / f"sys/bus/pci/devices/{DSA}/config").read_bytes()
    box.dsa(driver="idxd")
    box.tree.file(f"bus/pci/devices/{DSA}/dsa0/wq0.0/clients", "1")
    with pytest.raises(DeviceBusy, match="has 1 client"):
        run("write", DSA, "COMMAND=0")
    assert (box.root / f"sys/bus/pci/devices/{DSA}/config").read_bytes()[4:] == before[4:]
    assert run("write", DSA, "COMMAND=0", "--force") == "wrote COMMAND = 0000\n"
    name = str(tmp_path / "report.json")
    run("report", DSA, "-o", name)
    assert run("read", f"report:{name}", "VENDOR_ID") == "VENDOR_ID = 8086\n"
    with pytest.raises(UsageError, match="can only be read"):
        run("write", f"report:{name}", "COMMAND=0")


# --- what is refused --------------------------------------------------------------------------------------------------


class Twice(Block):
    SAME = Register(0x00, access="ro")
    ROW = Repeat(MINIMAL_BLOCKS[0], 0x100, count=2, stride=0x20)


def test_a_name_in_two_bars_is_asked_back() -> None:
    blocks: dict[int, type[Block]] = {0: Twice, 2: Twice}
    with pytest.raises(UsageError, match=r"BAR0\.SAME, BAR2\.SAME"):
        find_register("SAME", CAPABILITIES, blocks)
    with pytest.raises(UsageError, match=r"BAR0\.ROW\[1\]\.FIRE, BAR2\.ROW\[1\]\.FIRE"):
        find_register("ROW[1].FIRE", CAPABILITIES, blocks)
    assert find_register("BAR2.ROW[1].FIRE", CAPABILITIES, blocks).offset == 0x128


@pytest.mark.parametrize("name", ["ID", "BAR0.STATUS", "VENDOR_ID", "8.B", "3d.B"])
def test_a_read_only_register_is_written_only_by_force(name: str) -> None:
    words = ["write", "mock:minimal", f"{name}=1", "FIRE=3"]
    refused = CliRunner().invoke(cli, words, standalone_mode=False)
    assert isinstance(refused.exception, UsageError)
    assert "is read-only" in str(refused.exception)
    assert "wrote" not in refused.output
    assert "--force" in refused.exception.hint
    assert "wrote" in run("write", "mock:minimal", f"{name}=1", "--force")


def test_registers_that_are_writable_in_part_are_written() -> None:
    assert "wrote" in run("write", "mock:minimal", "COMMAND=2")
    assert "wrote" in run("write", "mock:minimal", "FIRE=3")
    assert "wrote" in run("write", "mock:minimal", "CONFIG.STATUS=0")

# SPDX-License-Identifier: Apache-2.0
"""The table of operations in ``drivers/intel_idxd/README.md``, row by row: what it says is what the models do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

import pytest

import vfio_ims
import vfio_ims.drivers.intel_idxd as folder
from tests.intel_idxd.memory import PAGE, arena
from vfio_ims.drivers.intel_idxd.driver import Dsa, Iaa
from vfio_ims.drivers.intel_idxd.driver.operations import Request
from vfio_ims.drivers.intel_idxd.hardware.aecs import CompressState
from vfio_ims.drivers.intel_idxd.hardware.descriptors import DsaOpcode, IaaOpcode
from vfio_ims.drivers.intel_idxd.hardware.iaa_flags import DecompressFlag
from vfio_ims.drivers.intel_idxd.hardware.status import IaaStatus, Status

VERSIONS = 1, 2, 3


class Row(NamedTuple):
    operation: str
    dsa: str
    iaa: str
    model: str


def rows() -> list[Row]:
    """The README's."""
    text = (Path(folder.__file__).parent / "README.md").read_text()
    table = text.split("| operation | DSA | IAA | on the model |\n")[1].split("\n")[1:]
    lines = takewhile(lambda line: line.startswith("|"), table)
    return [Row(*(cell.strip() for cell in line.strip("|").split("|"))) for line in lines]


OPCODES: dict[str, tuple[int, ...]] = {
    "no-op, memory move": (0, 3),
    "drain": (2,),
    "batch": (1,),
    "fill, compare, compare pattern, dualcast": (4, 5, 6, 9),
    "create delta, apply delta": (7, 8),
    "CRC generation, copy with CRC": (0x10, 0x11),
    "DIF check, insert, strip, update": (0x12, 0x13, 0x14, 0x15),
    "cache flush": (0x20,),
    "translation fetch": (0x0A,),
    "DIX generation": (0x17,),
    "update window": (0x21,),
    "inter-domain operations": (*range(0x23, 0x28), *range(0x33, 0x38)),
    "compress, decompress": (0x43, 0x42),
    "CRC64": (0x44,),
    "zero compress and decompress, 16 and 32 bits": (0x48, 0x49, 0x4C, 0x4D),
    "zero compress and decompress, 8 bits": (0x4A, 0x4E),
    "scan, set membership, extract, select, RLE burst, find unique, expand": tuple(range(0x50, 0x57)),
    "encrypt, decrypt": (0x41, 0x40),
}
FLAGS = {
    "compress with an index, a dictionary, a header of the device's own; decompress with an index": (
        IaaStatus.COMPRESS_FLAGS
    ),
    "filter flags from bit 27 on": IaaStatus.FILTER_FLAGS,
}
Opened = Callable[[str, int], Dsa | Iaa]


@pytest.fixture(scope="module")
def opened() -> Iterator[Opened]:
    found: dict[tuple[str, int], Dsa | Iaa] = {}
    with ExitStack() as stack:

        def driver(name: str, version: int) -> Dsa | Iaa:
            if (name, version) not in found:
                one = stack.enter_context(vfio_ims.open_driver(f"mock:{name},slots=256,version={version}"))
                assert isinstance(one, (Dsa, Iaa))
                found[name, version] = one
            return found[name, version]

        yield driver


def expected(cell: str, row: Row, version: int) -> bool:
    """Whether a device of ``version`` knows the operation."""
    if "status 0x10" in row.model or cell in ("no", "later versions"):
        return False
    found = re.fullmatch(r"version (\d)", cell)
    assert found or cell == "yes", cell
    return found is None or version >= int(found[1])


def test_every_row_is_known_here_and_every_operation_has_a_row() -> None:
    assert [row.operation for row in rows() if row.operation not in {*OPCODES, *FLAGS}] == []
    assert len(rows()) == len(OPCODES) + len(FLAGS)
    listed = {opcode for opcodes in OPCODES.values() for opcode in opcodes}
    assert {*DsaOpcode, *IaaOpcode} <= listed


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("operation", OPCODES)
def test_which_device_knows_it(opened: Opened, operation: str, version: int) -> None:
    (row,) = (row for row in rows() if row.operation == operation)
    for name, cell in (("intel-dsa", row.dsa), ("intel-iaa", row.iaa)):
        driver = opened(name, version)
        with driver.wq(0) as wq:
            for opcode in OPCODES[operation]:
                known = wq.start(Request(opcode, name=operation)).wait(check=False).status != Status.OPCODE
                assert known == expected(cell, row, version), (name, hex(opcode))
                assert known == bool(driver.capabilities.operations >> opcode & 1)
            assert wq.nop().ok


@pytest.mark.parametrize("operation", FLAGS)
def test_what_later_versions_have_ends_as_the_table_says(opened: Opened, operation: str) -> None:
    (row,) = (row for row in rows() if row.operation == operation)
    status = FLAGS[operation]
    assert f"status {int(status):#x}" in row.model
    assert (row.dsa, row.iaa) == ("no", "later versions")
    driver = opened("intel-iaa", 1)
    assert isinstance(driver, Iaa)
    memory = arena(driver, 4 * PAGE)
    memory.put(2 * PAGE, CompressState().packed())
    where = memory.at(PAGE), PAGE, memory.at(0), 64
    with driver.wq(0) as wq:
        if status == IaaStatus.FILTER_FLAGS:
            for bit in range(27, 32):
                specific = bytes(8) + (PAGE).to_bytes(4, "little") + bytes(4) + (1 << bit).to_bytes(4, "little")
                request = Request(IaaOpcode.FIND_UNIQUE, 0, *where[2::-2], 64, 0, specific + b"\1\0\0\0")
                assert wq.start(request).wait(check=False).status == status
        else:
            for bit in range(6, 15):
                compress = wq.submit.compress(*where, memory.at(2 * PAGE), how=1 << bit)
                assert compress.wait(check=False).status == status
            for bit in range(10, 15):
                inflate = wq.submit.decompress(*where, how=DecompressFlag.ENABLE | 1 << bit)
                assert inflate.wait(check=False).status == status
        assert wq.nop().ok

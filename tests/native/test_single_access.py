# SPDX-License-Identifier: Apache-2.0
"""Every register operation makes exactly one access of its width: counted by a page that traps (trap.c)."""

from __future__ import annotations

import array
import ctypes
import mmap
import platform
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from vfio_ims.native.access import load, store
from vfio_ims.native.memory import SharedMemory
from vfio_ims.native.window import MappedWindow, Piece

PAGE = mmap.PAGESIZE

pytestmark = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "aarch64"), reason="counting accesses is made for x86-64 and arm64 only"
)


class Access(NamedTuple):
    """``changed``: the offsets of the bytes that a store changed."""

    offset: int
    write: bool
    changed: tuple[int, ...]


Counted = Callable[[Callable[[], object]], list[Access]]


class Seen(ctypes.Structure):
    _fields_ = (("offset", ctypes.c_uint32), ("write", ctypes.c_uint32), ("changed", ctypes.c_uint64))


@pytest.fixture(scope="module")
def trap(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    compiled = Path(__file__).with_name(f"trap-{platform.machine()}.so")  # for a guest that has no compiler
    if compiled.exists():
        return ctypes.CDLL(str(compiled))
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("counting accesses needs a compiler: apt install gcc")
    made = tmp_path_factory.mktemp("trap") / "trap.so"
    source = Path(__file__).with_name("trap.c")
    subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-o", made, source], check=True)
    return ctypes.CDLL(str(made))


def mapping_of(name: str) -> int:
    for line in Path("/proc/self/maps").read_text().splitlines():
        if name in line:
            return int(line.split("-")[0], 16)
    raise AssertionError(f"{name} is not mapped")


def counter(trap: ctypes.CDLL, address: int) -> Counted:
    """Run something and say what it did to the page at ``address``."""

    def counted(action: Callable[[], object]) -> list[Access]:
        found = (Seen * 4096)()
        trap.trap_begin(ctypes.c_uint64(address), ctypes.c_uint64(PAGE))
        try:
            action()
        finally:
            count = trap.trap_end(found)
        assert count <= 4096
        return [
            Access(
                seen.offset,
                bool(seen.write),
                tuple((seen.offset & ~63) + i for i in range(64) if seen.changed >> i & 1),
            )
            for seen in found[:count]
        ]

    return counted


@pytest.fixture
def counted(trap: ctypes.CDLL, window: MappedWindow) -> Counted:
    return counter(trap, mapping_of("vfio-ims-test"))


def stores(*places: tuple[int, int]) -> list[Access]:
    """Stores of all-ones over zeroes: (offset, width) each."""
    return [Access(at, True, tuple(range(at, at + width))) for at, width in places]


def loads(*places: int) -> list[Access]:
    return [Access(at, False, ()) for at in places]


@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_a_read_is_one_load(window: MappedWindow, counted: Counted, width: int) -> None:
    assert counted(lambda: getattr(window, f"read{8 * width}")(72)) == loads(72)


@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_a_write_is_one_store_of_all_its_bytes(window: MappedWindow, counted: Counted, width: int) -> None:
    ones = (1 << 8 * width) - 1
    assert counted(lambda: getattr(window, f"write{8 * width}")(72, ones)) == stores((72, width))


@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_a_block_is_one_access_a_register_ascending(window: MappedWindow, counted: Counted, width: int) -> None:
    places = range(64, 64 + 16 * width, width)
    assert counted(lambda: window.write_block(64, b"\xff" * 16 * width, width)) == stores(
        *((at, width) for at in places)
    )
    assert counted(lambda: window.read_block(64, 16, width)) == loads(*places)


@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_polling_is_one_load_a_look(window: MappedWindow, counted: Counted, width: int) -> None:
    assert counted(lambda: window.poll(8, width, 1, 0, 1.0)) == loads(8)
    for timeout in (0.001, 0.01, 0.1, 1.0):  # on an emulated or busy machine one look may take all of it
        looks = counted(lambda timeout=timeout: window.poll(8, width, 1, 1, timeout))
        assert looks == loads(*[8] * len(looks))
        if len(looks) > 1:
            return
    pytest.fail("it looked once in a second")


def test_one_word_of_each_row_is_one_load_a_row(window: MappedWindow, counted: Counted) -> None:
    assert counted(lambda: window.read_table(268, 16, array.array("I", [2, 0, 2]))) == loads(300, 268, 300)


def test_a_table_is_one_store_a_step_in_order(window: MappedWindow, counted: Counted) -> None:
    steps = [(12, 1), (0, 0), (4, 0), (8, 0), (12, 0)]
    words = array.array("I", [0xFFFF_FFFF, 0xFF] * 2)
    seen = counted(lambda: window.write_table(256, 16, array.array("I", [2, 0]), steps, words))
    rows = []
    for row in (256 + 32, 256):
        rows += [Access(row + 12, True, (row + 12,)), *stores((row, 4), (row + 4, 4), (row + 8, 4))]
        rows.append(Access(row + 12, True, (row + 13, row + 14, row + 15)))
    assert seen == rows


def test_a_portal_store_in_pieces_is_eight_ascending(window: MappedWindow, counted: Counted) -> None:
    expected = stores(*((128 + 8 * i, 8) for i in range(8)))
    assert counted(lambda: window.store64(128, b"\xff" * 64, pieces=True)) == expected


def test_what_is_refused_touches_nothing(window: MappedWindow, counted: Counted) -> None:
    def refused() -> None:
        for action in (
            lambda: window.read32(2),
            lambda: window.write32(0, 1 << 32),
            lambda: window.write_block(0, b"abc"),
            lambda: window.write_table(0, 16, array.array("I", [0, 1 << 20]), [(0, 0)], array.array("I", [1, 1])),
        ):
            with pytest.raises(ValueError, match="must"):
                action()

    assert counted(refused) == []


@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_own_memory_is_accessed_once_too(trap: ctypes.CDLL, width: int) -> None:
    with SharedMemory(PAGE) as memory:
        count = counter(trap, memory.address)
        assert count(lambda: load(memory.address + 8, width)) == loads(8)
        assert count(lambda: store(memory.address + 8, width, (1 << 8 * width) - 1)) == stores((8, width))


def test_the_counter_sees_what_python_itself_would_do(trap: ctypes.CDLL) -> None:
    """Why all this is compiled: a slice of a Python mapping is not one access."""
    with SharedMemory(PAGE) as memory:
        view = memory.view
        seen = counter(trap, memory.address)(lambda: view.__setitem__(slice(8, 12), b"\xff\xff\xff\xff"))
        assert seen[0].write
        view.release()


DIRECT_STORES = {"x86_64": ("movdir64b", "(%rdx),%rax"), "aarch64": ("st64b", "x0, [x8]")}


@pytest.mark.parametrize("machine", DIRECT_STORES)
def test_the_direct_store_is_the_right_instruction(tmp_path: Path, machine: str) -> None:
    """Its opcode is a number: a disassembler must read MOVDIR64B to [rax] from [rdx] in it, and ST64B of x0 to [x8]."""
    native = machine == platform.machine()
    compiler, objdump = (
        shutil.which(f"{machine}-linux-gnu-{tool}") or (shutil.which(tool) if native else None)
        for tool in ("gcc", "objdump")
    )
    if compiler is None or objdump is None:
        name = "gcc binutils" if native else f"gcc-{machine.replace('_', '-')}-linux-gnu"
        pytest.skip(f"needs a compiler for {machine} and a disassembler: apt install {name}")
    from vfio_ims.native import build

    code = tmp_path / "bulk.o"
    source = Path(build.__file__).with_name("window_portal.c")
    subprocess.run([compiler, *build.compile_flags, "-c", source, "-o", code], check=True)
    listing = subprocess.run([objdump, "-d", code], check=True, capture_output=True, text=True).stdout
    instruction, operands = DIRECT_STORES[machine]
    lines = [line for line in listing.splitlines() if instruction in line]
    assert lines
    assert all(operands in line for line in lines)


def test_a_piece_of_the_file_is_where_it_should_be(memory: int) -> None:
    with MappedWindow(2 * PAGE, [Piece(memory, 3 * PAGE, PAGE, PAGE)]) as window:
        window.write8(PAGE + 5, 7)
        assert window.read8(PAGE + 5) == 7

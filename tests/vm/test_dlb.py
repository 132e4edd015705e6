# SPDX-License-Identifier: Apache-2.0
"""The DLB under a real kernel: DPDK's event/dlb2 drives our model over vfio-pci."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.vm.lab import Guest
from tests.vm.pieces import find, need_vm
from tests.vm.platforms import INTEL

STORES = """
import ctypes, mmap, sys
area = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
area.write(bytes.fromhex(sys.argv[1]))
call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(ctypes.addressof(ctypes.c_char.from_buffer(area)))
source, target = bytearray(range(128)), bytearray(256)
line = -ctypes.addressof(ctypes.c_char.from_buffer(target)) % 64
at = ctypes.addressof(ctypes.c_char.from_buffer(target, line))
call(at, ctypes.addressof(ctypes.c_char.from_buffer(source)))
print(target[line:line + 64].hex(), any(target[:line]), any(target[line + 64:]))
"""
FORMS = {
    "to rax from rdx": ("4889f8 4889f2 660f38f802 c3", 0),
    "to r9 from r10 + 64": ("4989f9 4989f2 66450f38f84a40 c3", 64),
    "to rax from rdx + 32, far": ("4889f8 4889f2 660f38f88220000000 c3", 32),
}


@pytest.fixture(scope="module")
def guest() -> Iterator[Guest]:
    need_vm()
    with Guest(INTEL) as booted:
        yield booted


def test_a_64_byte_store_that_the_processor_lacks(guest: Guest) -> None:
    """Preloaded, what DPDK submits with works; other illegal instructions still end the program."""
    library = str(find().dpdk.parent / "movdir64b_user.so")

    def run(code: str, preload: str = library) -> tuple[int, str]:
        done = guest.run([sys.executable, "-S", "-E", "-c", STORES, code], env={"LD_PRELOAD": preload})
        return done.returncode, done.stdout.strip()

    for name, (code, offset) in FORMS.items():
        assert run(code) == (0, f"{bytes(range(offset, offset + 64)).hex()} False False"), name
    plain, *_ = FORMS.values()
    assert run(plain[0], preload="")[0] == 128 + 4, "the processor has it: this proves nothing"
    assert run("0f0b c3")[0] == 128 + 4

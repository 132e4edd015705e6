# SPDX-License-Identifier: Apache-2.0
"""arm64 in an emulated process: the wheel, and the tests of what is compiled. In a guest: tests/vm/test_arm64.py."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.arm64.pieces import Pieces, need_arm64
from tests.arm64.stage import MODULE, stage, wheel

FILES = ("test_single_access.py", "window", "test_memory.py", "test_rows.py", "test_fault.py")
LEFT_OUT = ("faulthandler", "kills", "handlers_that", "python_handler", "direct_store")
"""Each of these starts Pythons or compilers of its own: seconds each here, and nothing that a guest would not show."""
EM_AARCH64 = 183
WITH_ST64B = ("dontfork", "st64b")


@pytest.fixture(scope="module")
def pieces() -> Pieces:
    return need_arm64("emulator", "root", "wheel")


def test_the_wheel_is_for_arm64_and_installs_there(pieces: Pieces, tmp_path: Path) -> None:
    made = wheel(pieces)
    assert re.fullmatch(r"vfio_ims-.*-cp311-abi3-linux_aarch64\.whl", made.name)
    module = zipfile.ZipFile(made).read(MODULE)
    assert module[:4] == b"\x7fELF"
    assert int.from_bytes(module[18:20], "little") == EM_AARCH64
    newest = max(tuple(map(int, found.split(b"."))) for found in re.findall(rb"GLIBC_(2\.\d+)", module))
    assert newest <= (2, 36), "it must load on Debian 12"
    install = ["-m", "pip", "install", "-q", "--no-deps", "--no-index", "--no-compile", "--disable-pip-version-check"]
    where = [
        "--target",
        str(tmp_path),
        "--platform",
        "linux_aarch64",
        "--python-version",
        "3.11",
        "--only-binary=:all:",
    ]
    subprocess.run([sys.executable, *install, *where, str(made)], check=True)
    program = "import platform, vfio_ims.native.lib as lib; lib.native(); print(platform.machine(), lib.__file__)"
    done = pieces.run(["-c", program], cwd=tmp_path, env={"PYTHONDONTWRITEBYTECODE": "1"})
    assert done.stdout.split() == ["aarch64", str(tmp_path / "vfio_ims" / "native" / "lib.py")], done.stderr


def test_what_is_compiled_passes_its_tests(pieces: Pieces) -> None:
    """Among them: each access is one of its width, windows and their guards, waiting, 64-byte stores."""
    copy = stage(pieces)
    options = ["-q", "-p", "no:cacheprovider", "--durations=5", "--color=no"]
    files = [f"tests/native/{name}" for name in FILES]
    done = pieces.run(["-m", "pytest", *options, *files, "-k", f"not ({' or '.join(LEFT_OUT)})"], cwd=copy)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = int(re.search(r"(\d+) passed", done.stdout)[1])  # type: ignore[index]
    assert passed >= 150
    assert "skipped" not in done.stdout


def test_a_disassembler_reads_st64b_in_the_module(pieces: Pieces) -> None:
    """Ours is a number. Both callers have it: of descriptors that are given, and of rows that are made."""
    listing = (pieces.wheel / "disassembly").read_text()
    found = re.findall(r"\bst64b\b\t(.*)", listing)
    assert len(found) >= 2
    assert set(found) == {"x0, [x8]"}


def test_64_bytes_arrive_whole_where_st64b_is_carried_out(pieces: Pieces) -> None:
    """Our own call path, from Python to the instruction: its registers hold the bytes and the address (st64b.c)."""
    done = pieces.run(["-m", "tests.arm64.direct_store"], cwd=stage(pieces), preload=WITH_ST64B)
    assert done.returncode == 0, done.stderr
    line = bytes(range(64))
    first = 0x1122_3344_5566_7788
    rows = [line[:8] + (first + i).to_bytes(8, "little") + line[16:] for i in range(3)]
    last = b"".join((n + 1).to_bytes(8, "little") + (7 | n << 32).to_bytes(8, "little") for n in (300, 301))
    acknowledgement = bytes(8) + (1 << 56 | 1 << 32).to_bytes(8, "little")  # of 4, 4, and 2
    assert json.loads(done.stdout) == {
        "one": {"lines": {"576": line.hex()}, "count": 1, "last": 0x240},
        "many": {"lines": {"1024": bytes(64).hex(), "1088": line[::-1].hex()}, "count": 3, "last": 0x400},
        "rows": {"lines": {str(0x840 + 64 * i): row.hex() for i, row in enumerate(rows)}, "count": 3, "last": 0x8C0},
        "commands": {"lines": {"3072": last.ljust(64, b"\0").hex()}, "count": 76, "last": 0xC00},
        "acknowledgements": {"lines": {"3072": acknowledgement.ljust(64, b"\0").hex()}, "count": 3, "last": 0xC00},
    }


def test_the_emulated_processor_has_no_st64b(pieces: Pieces) -> None:
    """Why it is carried out for it; once QEMU has the instruction, it is used as it is."""
    done = pieces.run(
        ["-m", "tests.arm64.direct_store"], cwd=stage(pieces), preload=WITH_ST64B, env={"ST64B": "claimed"}
    )
    assert done.returncode == -signal.SIGILL, done

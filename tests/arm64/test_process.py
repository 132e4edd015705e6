# SPDX-License-Identifier: Apache-2.0
"""arm64 in an emulated process: the wheel, and the tests of what is compiled. In a guest: tests/vm/test_arm64.py."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.arm64.pieces import Pieces, need_arm64
from tests.arm64.stage import MODULE, stage, wheel

FILES = ("single_access", "window", "memory", "rows", "fault")
LEFT_OUT = ("faulthandler", "kills", "handlers_that", "python_handler", "direct_store")
"""Each of these starts Pythons or compilers of its own: seconds each here, and nothing that a guest would not show."""
EM_AARCH64 = 183


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
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:benchmark", "--durations=5", "--color=no"]
    files = [f"tests/native/test_{name}.py" for name in FILES]
    done = pieces.run(["-m", "pytest", *options, *files, "-k", f"not ({' or '.join(LEFT_OUT)})"], cwd=copy)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    passed = int(re.search(r"(\d+) passed", done.stdout)[1])  # type: ignore[index]
    assert passed >= 150
    assert "skipped" not in done.stdout

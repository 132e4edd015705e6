# SPDX-License-Identifier: Apache-2.0
"""Building and loading the compiled module: what it needs, what it says where that is missing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

import vfio_ims
from vfio_ims.errors import SetupError
from vfio_ims.native import build, lib
from vfio_ims.native.build_stamp import sources, stamp

ROOT = Path(__file__).parents[2]
MISSING_ARM = "needs a cross compiler: apt install gcc-aarch64-linux-gnu"


@pytest.mark.parametrize("compiler", ["gcc", "clang", "aarch64-linux-gnu-gcc"])
def test_the_c_is_clean_on_both_machines(compiler: str, tmp_path: Path) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(MISSING_ARM if "aarch64" in compiler else f"needs {compiler}: apt install {compiler}")
    headers = Path(sysconfig.get_paths()["include"])
    # Debian has a folder for each architecture with its pyconfig.h. What it says of this machine is true of the other.
    own = headers.parent / str(sysconfig.get_config_var("MULTIARCH")) / headers.name
    if own.is_dir():
        (tmp_path / compiler.removesuffix("-gcc")).symlink_to(own.parent)
    for source in sources(".c"):
        flags = [*build.compile_flags, "-fPIC", "-Werror", f"-I{headers}", f"-I{tmp_path}"]
        done = subprocess.run(
            [compiler, *flags, "-c", source, "-o", tmp_path / "out.o"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


def test_cffis_own_c_is_clean_too(tmp_path: Path) -> None:
    headers = Path(sysconfig.get_paths()["include"])
    if shutil.which("gcc") is None or not (headers / "Python.h").exists():
        pytest.skip("needs a compiler and Python's headers: apt install gcc python3-dev")
    emitted = tmp_path / "_native.c"
    build.wrapper("1").emit_c_code(str(emitted))
    flags = [*build.compile_flags, "-fPIC", "-Werror", f"-I{headers}", f"-I{Path(build.__file__).parent}"]
    subprocess.run(["gcc", *flags, "-fsyntax-only", emitted], check=True)


def test_the_two_versions_agree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["version"] == vfio_ims.__version__


def test_a_module_of_other_sources_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lib, "stamp", lambda version: f"{version} something else")
    with pytest.raises(SetupError, match="compiled from other sources") as caught:
        lib.native.__wrapped__()
    assert "pip install -e ." in caught.value.hint


def test_a_missing_module_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vfio_ims.native._native", None)
    with pytest.raises(SetupError, match="load the compiled module") as caught:
        lib.native.__wrapped__()
    assert "pip install" in caught.value.hint


def test_a_free_threaded_python_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "abiflags", "t")
    with pytest.raises(SetupError, match="free-threaded build") as caught:
        lib.native.__wrapped__()
    assert "with the GIL" in caught.value.hint


def test_the_stamp_follows_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vfio_ims.native import build_stamp as module

    for path in sources(".h") + sources(".c"):
        shutil.copy(path, tmp_path)
    monkeypatch.setattr(module, "_HERE", tmp_path)
    before = stamp("1")
    assert re.fullmatch(r"1 [0-9a-f]{32}", before)
    assert stamp("2") != before
    with (tmp_path / "mmio.h").open("a") as file:
        file.write("\n")
    assert stamp("1") != before


def test_nothing_compiled_is_loaded_before_it_is_used() -> None:
    text = """
import sys, importlib, pkgutil
import vfio_ims.native
for found in pkgutil.iter_modules(vfio_ims.native.__path__):
    if found.name not in ("_native", "build"):
        importlib.import_module("vfio_ims.native." + found.name)
assert "vfio_ims.native._native" not in sys.modules
assert "cffi" not in sys.modules and "_cffi_backend" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", text], check=True)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """As much of the source tree as a build needs."""
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, tmp_path)
        else:
            (tmp_path / name).write_text("")
    ignore = shutil.ignore_patterns("__pycache__", "*.so")
    for name in ("vfio_ims", "drivers", "docs/man"):
        shutil.copytree(ROOT / name, tmp_path / name, symlinks=True, ignore=ignore)
    return tmp_path


def built(where: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "import setuptools; setuptools.setup()", *arguments]
    env = os.environ | environment
    return subprocess.run(command, cwd=where, capture_output=True, text=True, env=env, check=False)


def test_a_missing_compiler_is_one_line_that_says_what_to_install(copied: Path) -> None:
    done = built(copied, "build_ext", CC="no-such-compiler")
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if "vfio-ims needs" in line]
    assert lines == ["error: vfio-ims needs a C compiler (no-such-compiler is not there): apt install gcc python3-dev"]
    assert "Traceback" not in done.stderr


def test_nothing_is_built_for_a_free_threaded_python(copied: Path) -> None:
    program = "import sysconfig, setuptools; sysconfig.get_config_vars()['Py_GIL_DISABLED'] = 1; setuptools.setup()"
    command = [sys.executable, "-c", program, "build_ext"]
    done = subprocess.run(command, cwd=copied, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    (line,) = (line for line in done.stderr.splitlines() if "vfio-ims needs" in line)
    assert "a Python with the GIL" in line
    assert not list(copied.rglob("*.so"))


def test_a_wheel_serves_every_python_from_3_11(copied: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("needs a compiler: apt install gcc")
    pytest.importorskip("setuptools")
    done = built(copied, "bdist_wheel", CFLAGS="-O0")
    assert done.returncode == 0, done.stderr
    (wheel,) = (copied / "dist").iterdir()
    assert re.fullmatch(r"vfio_ims-.*-cp311-abi3-linux_\w+\.whl", wheel.name)
    import zipfile

    names = zipfile.ZipFile(wheel).namelist()
    assert "vfio_ims/native/_native.abi3.so" in names
    assert "vfio_ims/native/window.c" in names, "the stamp is compared with the sources beside the module"
    assert not any(name.endswith("_native.c") for name in names)
    assert not list(copied.glob("vfio_ims/native/_native.c")), "the source tree stays as it was"

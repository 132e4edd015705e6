# SPDX-License-Identifier: Apache-2.0
"""Builds ``vfio_ims.native._native`` with cffi, for setuptools (``[tool.setuptools.cmdclass]`` in pyproject.toml).

The headers of this folder are the declarations for C and for cffi alike: what cffi reads is a header without its
preprocessor lines. The wrapper that cffi writes goes to the build folder, never into the source tree.

setuptools loads this one file, by its path, while the package cannot be imported yet.
"""

import os
import runpy
import shutil
import sysconfig
from pathlib import Path
from typing import Any

from cffi import FFI
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

__all__ = ["BuildNative", "compile_flags", "declarations", "wrapper"]

_HERE = Path(__file__).resolve().parent
_STAMP: dict[str, Any] = runpy.run_path(str(_HERE / "build_stamp.py"))

# What C has for itself and Python has no use for.
_INTERNAL_HEADERS = {"clock.h", "fault.h", "mmio.h", "store64.h", "window_private.h"}

compile_flags = ["-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-fvisibility=hidden"]


def _public_headers() -> list[Path]:
    return [path for path in _STAMP["sources"](".h") if path.name not in _INTERNAL_HEADERS]


def declarations() -> str:
    """The public headers as cffi takes them."""
    lines = (line for path in _public_headers() for line in path.read_text().splitlines())
    return "\n".join(line for line in lines if not line.startswith("#")) + "\nconst char *native_stamp(void);\n"


def wrapper(version: str) -> FFI:
    """The module's declarations and the C that cffi's wrapper includes."""
    includes = "".join(f'#include "{path.name}"\n' for path in _public_headers())
    stamp = f'static const char *native_stamp(void) {{ return "{_STAMP["stamp"](version)}"; }}\n'
    ffi = FFI()
    ffi.cdef(declarations())
    ffi.set_source("vfio_ims.native._native", includes + stamp, py_limited_api=True)
    return ffi


class BuildNative(build_ext):
    """build_ext with one module of ours: writes the wrapper, compiles it with the C files of this folder."""

    def build_extensions(self) -> None:
        self._check_tools()
        for extension in self.extensions:
            folder = Path(self.build_temp)
            folder.mkdir(parents=True, exist_ok=True)
            emitted = folder / "_native.c"
            wrapper(self.distribution.get_version()).emit_c_code(str(emitted))
            # Relative: setuptools puts object files under the source's path.
            extension.sources = [os.path.relpath(path) for path in [emitted, *_STAMP["sources"](".c")]]
            extension.depends = [os.path.relpath(path) for path in _STAMP["sources"](".h")]
            extension.include_dirs = [os.path.relpath(_HERE)]
            extension.extra_compile_args = compile_flags
            extension.extra_link_args = [
                "-pthread",
                "-Wl,--strip-all",
            ]  # Python's own flags have -g
        super().build_extensions()

    def _check_tools(self) -> None:
        """One line that names what to install, before a compiler says it in fifty.

        A module for a free-threaded Python is not built: cffi would have it claim that it needs no GIL.
        """
        if sysconfig.get_config_var("Py_GIL_DISABLED"):
            raise CompileError("vfio-ims needs a Python with the GIL, and this one is a free-threaded build")
        compiler = (os.environ.get("CC") or self.compiler.compiler_so[0]).split()[0]
        header = Path(sysconfig.get_paths()["include"]) / "Python.h"
        missing = []
        if shutil.which(compiler) is None:
            missing.append(f"a C compiler ({compiler} is not there)")
        if not any((Path(folder) / "Python.h").exists() for folder in [header.parent, *self.compiler.include_dirs]):
            missing.append(f"Python's headers ({header} is not there)")
        if missing:
            raise CompileError(f"vfio-ims needs {' and '.join(missing)}: apt install gcc python3-dev")

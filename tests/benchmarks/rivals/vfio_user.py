# SPDX-License-Identifier: Apache-2.0
"""Servers and clients of vfio-user, ours and those in C on libvfio-user, which are compiled here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cffi

from tests.benchmarks.rivals.rows import LeftOut

__all__ = ["Client", "compile_both", "our_server", "serving"]

_HERE = Path(__file__).parent
_CONFIG, _COMMAND, _MEMORY = 7, 4, 2  # VFIO's index of config space; the command register, memory space on


class Client:
    """The client in C, connected to ``socket``, with access to memory turned on."""

    def __init__(self, library: Path, socket: Path) -> None:
        ffi = cffi.FFI()
        ffi.cdef("""
            int client_open(const char *path);
            int64_t client_read32(int sock, uint32_t region, uint64_t offset, uint64_t count);
            int client_write(int sock, uint32_t region, uint64_t offset, uint32_t value, uint32_t size, uint64_t count);
        """)
        self._lib: Any = ffi.dlopen(str(library))
        self._sock = self._done(self._lib.client_open(os.fsencode(socket)))
        self._done(self._lib.client_write(self._sock, _CONFIG, _COMMAND, _MEMORY, 2, 1))

    def _done(self, result: int) -> int:
        if result < 0:
            raise OSError(-result, f"the client in C: {os.strerror(-result)}")
        return result

    def read32(self, offset: int, count: int) -> int:
        """``count`` reads of BAR 0 in one call: the last value."""
        return self._done(self._lib.client_read32(self._sock, 0, offset, count))

    def write32(self, offset: int, value: int, count: int) -> None:
        """``count`` writes of BAR 0 in one call."""
        self._done(self._lib.client_write(self._sock, 0, offset, value, 4, count))

    def close(self) -> None:
        """Leave the server."""
        os.close(self._sock)


def compile_both(piece: Path, folder: Path) -> tuple[Path, Path]:
    """The client, a library, and the server, a program, against libvfio-user in ``piece``. LeftOut without gcc."""
    if shutil.which("gcc") is None:
        raise LeftOut("programs in C need gcc: apt install gcc")
    client, server = folder / "client.so", folder / "server"
    common = ["gcc", "-O2", "-Wall", "-D_GNU_SOURCE", f"-I{piece / 'include'}", f"-I{piece / 'lib'}"]
    link = [f"-L{piece}", "-lvfio-user", f"-Wl,-rpath,{piece}"]
    source = str(_HERE / "vfio_user_client.c")
    subprocess.run([*common, "-fPIC", "-shared", source, *link, "-o", client], check=True)
    subprocess.run([*common, str(_HERE / "vfio_user_server.c"), *link, "-o", server], check=True)
    return client, server


def our_server(socket: Path) -> list[str]:
    """The command that serves the example device's model."""
    return [sys.executable, "-m", "vfio_ims.cli.main", "serve", "minimal", "--socket", str(socket)]


@contextmanager
def serving(command: Sequence[str | Path], socket: Path) -> Iterator[Path]:
    """The socket of a server that ``command`` starts."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 30
        while not socket.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise RuntimeError(f"no server at {socket}: {process.communicate()[1]}")
            time.sleep(0.02)
        yield socket
    finally:
        process.terminate()
        process.communicate()

# SPDX-License-Identifier: Apache-2.0
"""SIGBUS: an error inside our accesses, and whatever it was before anywhere else."""

from __future__ import annotations

import array
import faulthandler
import mmap
import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest

from vfio_ims.errors import DeviceError
from vfio_ims.native.window import MappedWindow

PAGE = mmap.PAGESIZE


@pytest.fixture
def cut(window: MappedWindow, memory: int) -> MappedWindow:
    """A window whose file was cut to nothing under it: the pages are mapped and raise SIGBUS."""
    os.ftruncate(memory, 0)
    return window


def test_every_access_to_memory_that_is_gone_is_an_error(cut: MappedWindow) -> None:
    for access in (
        lambda: cut.read8(0),
        lambda: cut.read16(0),
        lambda: cut.read32(0),
        lambda: cut.read64(0),
        lambda: cut.write8(0, 1),
        lambda: cut.write16(0, 1),
        lambda: cut.write32(0, 1),
        lambda: cut.write64(0, 1),
        lambda: cut.read_block(0, 4),
        lambda: cut.write_block(0, bytes(8)),
        lambda: cut.poll(0, 4, 0, 1, 0.1),
        lambda: cut.write_table(0, 4, array.array("I", [0]), [(0, 0)], array.array("I", [1])),
        lambda: cut.store64(0, bytes(64), pieces=True),
    ):
        for _ in range(3):
            with pytest.raises(DeviceError, match="SIGBUS"):
                access()


def test_it_works_again_when_the_memory_is_back(cut: MappedWindow, memory: int) -> None:
    with pytest.raises(DeviceError):
        cut.read32(0)
    os.ftruncate(memory, PAGE)
    cut.write32(0, 5)
    assert cut.read32(0) == 5


def test_a_window_that_faulted_closes(cut: MappedWindow) -> None:
    with pytest.raises(DeviceError):
        cut.write32(0, 1)
    cut.close()


def test_each_thread_has_its_own_fault(cut: MappedWindow) -> None:
    caught = []

    def look() -> None:
        for _ in range(200):
            try:
                cut.read64(0)
            except DeviceError:
                caught.append(1)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(caught) == 800


def test_pytest_runs_with_faulthandler() -> None:
    """The cases above ran above faulthandler's own handler, and left it in place."""
    assert faulthandler.is_enabled()


OWN = """
import os, mmap, signal, sys, faulthandler, ctypes
from vfio_ims.native.window import MappedWindow, Piece
from vfio_ims.errors import DeviceError
fd = os.memfd_create("cut"); os.ftruncate(fd, mmap.PAGESIZE)
def window():
    return MappedWindow(mmap.PAGESIZE, [Piece(fd, 0, 0, mmap.PAGESIZE)])
foreign = mmap.mmap(fd, mmap.PAGESIZE)
place = ctypes.addressof(ctypes.c_char.from_buffer(foreign))
def ours(made):
    try:
        made.read32(0)
    except DeviceError:
        print("ours", flush=True)
def theirs():
    ctypes.string_at(place, 1)
"""


def run(body: str) -> subprocess.CompletedProcess[str]:
    text = OWN + textwrap.dedent(body)
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60)


def test_a_fault_outside_our_accesses_still_kills() -> None:
    done = run("made = window(); os.ftruncate(fd, 0); ours(made); theirs(); print('survived')")
    assert done.stdout == "ours\n"
    assert done.returncode == -signal.SIGBUS


def test_a_fault_outside_our_accesses_still_reaches_faulthandler() -> None:
    done = run("faulthandler.enable(); made = window(); os.ftruncate(fd, 0); ours(made); theirs(); print('survived')")
    assert done.stdout == "ours\n"
    assert "Fatal Python error: Bus error" in done.stderr
    assert "in theirs" in done.stderr
    assert done.returncode == -signal.SIGBUS


@pytest.mark.parametrize("again", ["", "window()"])
def test_handlers_that_lead_to_each_other_do_not_loop(again: str) -> None:
    """faulthandler put above ours, and (with another window) ours above it again."""
    done = run(
        f"made = window(); faulthandler.enable(); other = {again or None}; os.ftruncate(fd, 0);"
        "ours(made); theirs(); print('survived')"
    )
    assert done.stdout == "ours\n"
    assert done.returncode == -signal.SIGBUS


def test_a_python_handler_still_gets_a_signal_that_was_sent() -> None:
    done = run(
        """
        signal.signal(signal.SIGBUS, lambda *_: print("handler"))
        made = window()
        os.kill(os.getpid(), signal.SIGBUS)
        os.ftruncate(fd, 0)
        ours(made)
        """
    )
    assert done.stdout == "handler\nours\n"
    assert "Traceback" not in done.stderr


def test_a_sigbus_that_is_sent_kills_as_ever() -> None:
    done = run("made = window(); os.kill(os.getpid(), signal.SIGBUS); print('survived')")
    assert done.returncode == -signal.SIGBUS
    assert done.stdout == ""

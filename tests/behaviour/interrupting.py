# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C at a chosen instruction: the same at every run."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

__all__ = ["compile_to", "compiled", "sweep"]

_POINTS = 80
"""Of each sweep; VFIO_IMS_SWEEP in the environment is another number of them, or ``all`` instructions."""
_SEED = "13"
"""Chooses the first of them; VFIO_IMS_SWEEP_SEED is another. The rest follow at equal distances."""
_SOURCE = Path(__file__).with_name("interrupter.c")


@cache
def _library() -> ctypes.PyDLL:
    if (made := compiled()).exists():
        return ctypes.PyDLL(str(made))
    with tempfile.TemporaryDirectory() as folder:
        compile_to(Path(folder, made.name))
        return ctypes.PyDLL(f"{folder}/{made.name}")


def compiled() -> Path:
    """Where the compiled part is looked for first: an emulated machine takes seconds to compile it."""
    key = hashlib.sha256(_SOURCE.read_bytes()).hexdigest()[:16]
    return Path(__file__).with_name("__pycache__") / f"interrupter-{platform.machine()}-{key}.so"


def compile_to(made: Path) -> None:
    """Compile it into the file ``made``, which is whole as soon as it is there; skips the test without a compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("pressing Ctrl-C at an instruction needs a compiler: apt install gcc")
    made.parent.mkdir(exist_ok=True)
    part = made.with_suffix(f".{os.getpid()}")
    subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-o", part, _SOURCE], check=True)
    part.rename(made)


@contextmanager
def _interrupted(at: int) -> Iterator[None]:
    """SIGINT at instruction ``at`` of the block, counted from 0; -1: at none."""
    library, set_trace = _library(), ctypes.pythonapi.PyEval_SetTrace
    set_trace.argtypes, set_trace.restype = [ctypes.c_void_p, ctypes.py_object], None
    library.interrupter_begin.argtypes = [ctypes.c_long, ctypes.py_object]
    before = sys.gettrace()
    sys._getframe().f_trace_opcodes = True  # Python 3.12 wants this before the tracing begins
    library.interrupter_begin(at, True)
    set_trace(ctypes.cast(library.interrupter_step, ctypes.c_void_p), None)
    try:
        yield
    finally:
        set_trace(None, None)
        if before is not None:
            sys.settrace(before)


@contextmanager
def _finalisers_may_be_hit() -> Iterator[None]:
    """Python reports what is raised in ``__del__`` and goes on: a Ctrl-C that comes there is no defect."""
    before = sys.unraisablehook

    def report(unraisable: sys.UnraisableHookArgs) -> None:
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            before(unraisable)

    sys.unraisablehook = report
    try:
        yield
    finally:
        sys.unraisablehook = before


def sweep(act: Callable[[], object], check: Callable[[], object], most: int = _POINTS) -> int:
    """Do ``act`` again and again, broken off by Ctrl-C at another instruction each time, and ``check`` after each.

    At ``most`` that many, spread evenly. Returns how often it was broken off.
    """
    act()
    check()  # the next one starts from where each of the others does
    with _interrupted(-1):
        act()
    total = _library().interrupter_seen()
    assert total > 50, "the instructions are seen"
    check()
    asked = os.environ.get("VFIO_IMS_SWEEP", str(most))
    step = 1 if asked == "all" else max(1, total // int(asked))
    first = random.Random(os.environ.get("VFIO_IMS_SWEEP_SEED", _SEED)).randrange(step)
    points = range(first, total, step)
    broken = 0
    for at in points:
        try:
            try:
                with _finalisers_may_be_hit(), _interrupted(at):
                    act()
            finally:
                # Where the last instructions were meant the block was over first.
                ctypes.pythonapi.PyEval_SetTrace(None, None)
        except KeyboardInterrupt:
            broken += 1
        try:
            check()
        except BaseException as error:
            raise AssertionError(f"after Ctrl-C at instruction {at} of {total}: {error!r}") from error
    return broken

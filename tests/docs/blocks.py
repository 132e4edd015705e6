# SPDX-License-Identifier: Apache-2.0
"""The blocks of a page, run in order in one directory: files are written, programs run, output is compared.

    ```python title="acme/driver.py"     a file
    ```python                            a program
    ```console                           commands after "$ ", and what they print; a line "…" stands for any lines

Numbers may differ from run to run. ``python -m tests.docs.blocks docs/tutorial.md`` writes real output into the page.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ANY = "…"
_FENCE = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
_NUMBER = re.compile(r"0x[0-9a-f]+|\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, the file that it is, its text, and where that is in the page."""

    language: str
    title: str
    text: str
    span: tuple[int, int]


@dataclass(frozen=True)
class Command:
    """A command of a console block, what the page says that it prints, and what it printed."""

    line: str
    said: list[str]
    printed: list[str]
    status: int


def blocks_of(page: str) -> list[Block]:
    return [Block(m[1], m[2] or "", m[3], m.span(3)) for m in _FENCE.finditer(page)]


def plain(line: str) -> str:
    """A line of output without what differs from run to run."""
    return re.sub(r"\s+", " ", _NUMBER.sub("N", line)).strip()


def agree(said: list[str], printed: list[str]) -> bool:
    """Whether the output is as the page says; a line of ``ANY`` stands for any lines."""
    if not said:
        return not printed
    if said[0].strip() == ANY:
        return any(agree(said[1:], printed[skip:]) for skip in range(len(printed) + 1))
    return bool(printed) and plain(said[0]) == plain(printed[0]) and agree(said[1:], printed[1:])


class Runner:
    """Runs blocks in ``directory``. What a command left in the background ends with the runner."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._behind: list[subprocess.Popen[str]] = []
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        own = {"PATH": path, "COLUMNS": "100", "NO_COLOR": "1", "PYTEST_ADDOPTS": "-p no:cacheprovider"}
        own["PYTHONDONTWRITEBYTECODE"] = "1"  # pages correct a file within a second, with as many bytes: same .pyc
        self._environment = {key: value for key, value in os.environ.items() if key != "VFIO_IMS_DEVICE"} | own

    def run(self, block: Block) -> list[Command]:
        """Write the file, or run the program or the commands."""
        if block.title:
            file = self._directory / block.title
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text)
            return []
        if block.language == "python":
            status, printed = self._call([sys.executable, "-W", "error", "-c", block.text])
            return [Command("a program", [], [] if status == 0 else printed, status)]
        return [self._command(line, said) for line, said in self._commands(block.text)]

    @staticmethod
    def _commands(text: str) -> Iterator[tuple[str, list[str]]]:
        parts = re.split(r"^\$ ", text, flags=re.MULTILINE)
        for part in parts[1:]:
            line, *said = part.rstrip("\n").split("\n")
            yield line, said if said != [""] else []

    def _command(self, line: str, said: list[str]) -> Command:
        if line.endswith("&"):
            self._start(line.removesuffix("&").strip())
            return Command(line, said, [], 0)
        status, printed = self._call(["sh", "-c", line])
        return Command(line, said, printed, status)

    def _call(self, words: list[str]) -> tuple[int, list[str]]:
        done = subprocess.run(
            words,
            cwd=self._directory,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        printed = done.stdout.replace(f"{self._directory.resolve()}/", "").rstrip("\n")
        lines = [line.rstrip() for line in printed.split("\n") if printed]
        # How far a self-test is, it says where the machine is slow.
        return done.returncode, [line for line in lines if not line.startswith("self-test: step ")]

    def _start(self, line: str) -> None:
        """A server in the background: it is there when its socket is."""
        nowhere = subprocess.DEVNULL
        words = line.split()
        self._behind.append(
            subprocess.Popen(
                words, cwd=self._directory, env=self._environment, stdout=nowhere, stderr=nowhere, text=True
            )
        )
        socket, deadline = self._directory / words[words.index("--socket") + 1], time.monotonic() + 60
        while not socket.exists() and time.monotonic() < deadline:
            time.sleep(0.02)

    def close(self) -> None:
        for process in self._behind:
            process.terminate()
            process.wait(30)


def _update(page: Path) -> None:
    """Write what the commands print into the page; lines that stand for any lines are kept where they still fit."""
    text, shift = page.read_text(), 0
    with tempfile.TemporaryDirectory() as directory:
        runner = Runner(Path(directory))
        for block in blocks_of(text):
            ran = runner.run(block)
            if block.language != "console":
                continue
            lines = []
            for one in ran:
                kept = one.said if one.said and agree(one.said, one.printed) else one.printed
                lines += [f"$ {one.line}", *kept]
            new = "\n".join(lines) + "\n"
            start, end = block.span[0] + shift, block.span[1] + shift
            whole = page.read_text()
            page.write_text(whole[:start] + new + whole[end:])
            shift += len(new) - (end - start)
        runner.close()


if __name__ == "__main__":
    for name in sys.argv[1:]:
        _update(Path(name))

# SPDX-License-Identifier: Apache-2.0
"""``--vfio-record``: what each test does with its devices, in a file of its own, named in the report and in JUnit's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

    from vfio_ims.tracing import Trace

__all__ = ["MODES", "TestRecording", "attach", "file_of", "recording"]

MODES = ("never", "on-failure", "always")


class TestRecording:
    """The recordings of one test, one for each device that it opened; ``kept`` once it is to stay."""

    __test__ = False

    def __init__(self, file: Path, *, always: bool) -> None:
        self.file, self.kept = file, always
        self.named = False
        self.traces: list[Trace] = []

    @property
    def files(self) -> list[Path]:
        from vfio_ims.tracing.attach import numbered

        return [numbered(self.file, number) for number in range(1, len(self.traces) + 1)]


def file_of(folder: Path, nodeid: str) -> Path:
    """The file of a test: its node id, in characters that every file system takes."""
    return folder / (re.sub(r"[^\w=-]+", "-", nodeid).strip("-")[:150] + ".jsonl.gz")


@contextmanager
def recording(file: Path, *, always: bool) -> Iterator[TestRecording]:
    """Record the devices that are opened within, with the contents of memory, so that the file can be replayed."""
    from vfio_ims.tracing import trace_opened

    file.parent.mkdir(parents=True, exist_ok=True)
    kept = TestRecording(file, always=always)
    try:
        with trace_opened(file, contents=True) as kept.traces:
            yield kept
    finally:
        files = kept.files
        if not kept.kept or not files:
            for one in {file, *files}:
                one.unlink(missing_ok=True)


def attach(kept: TestRecording, item: pytest.Item, report: pytest.TestReport) -> None:
    """Name the files of a test that failed, or of every one: a JUnit property, and the line that CI systems collect."""
    kept.kept = kept.kept or report.failed
    if kept.named or not kept.kept or not kept.traces or (report.when == "setup" and not report.failed):
        return
    kept.named = True
    paths = [str(path.resolve()) for path in kept.files]
    item.user_properties += [("vfio_recording", path) for path in paths]
    report.user_properties = list(item.user_properties)
    lines = "".join(f"[[ATTACHMENT|{path}]]\n" for path in paths)
    report.sections.append(("Captured stdout vfio-record", lines))
    # As if the test had printed it: so JUnit's system-out has it (junit_logging), where Jenkins and GitLab look.
    item.add_report_section("call", "stdout", lines)

# SPDX-License-Identifier: Apache-2.0
"""What is changed is on disk, whole, before it is changed; where it cannot be, nothing is changed and that is said."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.host.box import DSA, IAA, Box
from tests.host.fake_kernel import FakeKernel, state
from vfio_ims.errors import AccessDenied, SetupError, VfioImsError
from vfio_ims.host.binder import Binder
from vfio_ims.host.binding import Binding
from vfio_ims.host.journal import Entry, Journal

ENTRY = Entry(DSA, "8086:0b25", Binding("idxd", None, None), "1111", 1.0, {})


def entry(address: str = DSA, driver: str = "idxd") -> Entry:
    return Entry(address, "8086:0b25", Binding(driver, None, None), "1111", 1.0, {})


def short_writes(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """os.write takes 7 bytes a call, as a file system may, and ENOSPC after ``room`` bytes."""
    real, left = os.write, [room]

    def write(descriptor: int, data: Any) -> int:
        if left[0] <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        count = min(7, left[0], len(data))
        left[0] -= count
        return real(descriptor, bytes(data)[:count])

    monkeypatch.setattr(os, "write", write)


def test_a_write_that_the_file_system_takes_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short_writes(monkeypatch, 1 << 20)
    journal = Journal(tmp_path / "bindings")
    journal.put(ENTRY)
    assert journal.get(DSA) == ENTRY


def test_what_does_not_fit_leaves_the_entry_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "bindings")
    journal.put(ENTRY)
    short_writes(monkeypatch, 20)
    with pytest.raises(SetupError, match="no room") as refused:
        journal.put(entry(driver="other"))
    assert refused.value.errno == errno.ENOSPC
    assert str(tmp_path / "bindings") in refused.value.hint
    assert journal.get(DSA) == ENTRY
    assert os.listdir(journal.folder) == [f"{DSA}.json"]


def test_without_room_no_driver_is_touched(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.vfio()
    box.tree.driver("idxd")
    box.dsa()
    before = state(box.root)
    binder = Binder(box.machine, writer=FakeKernel(box.machine))
    found = box.machine.function(DSA)
    assert found is not None
    plan = binder.plan_bind([found])
    with monkeypatch.context() as full:
        short_writes(full, 100)
        with pytest.raises(SetupError, match="No space left on device"):
            binder.carry_out(plan)
    assert state(box.root) == before
    assert binder.restore() == []


def nowhere(root: Path) -> Path:
    (root / "file").write_text("")
    return root / "file" / "bindings"


@pytest.mark.parametrize(
    ("code", "kind", "text"),
    [
        (errno.EROFS, SetupError, "that file system is read-only"),
        (errno.EDQUOT, SetupError, "no room"),
        (errno.EIO, SetupError, "Input/output error"),
        (errno.EPERM, AccessDenied, "this user may not"),
    ],
)
@pytest.mark.parametrize("step", ["mkdir", "open", "fsync", "replace"])
def test_whatever_the_file_system_refuses_is_an_error_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, code: int, kind: type[VfioImsError], text: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    journal = Journal(tmp_path / "bindings")
    with monkeypatch.context() as broken:
        broken.setattr(os, step, refuse)
        with pytest.raises(kind, match=text) as refused:
            journal.put(ENTRY)
    assert refused.value.hint
    assert journal.get(DSA) is None


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    journal = Journal(nowhere(tmp_path))
    for act in (lambda: journal.put(ENTRY), lambda: journal.locked().__enter__(), lambda: journal.get(DSA)):
        with pytest.raises(SetupError, match="Not a directory") as refused:
            act()
        assert refused.value.hint == f"ls -ld {tmp_path / 'file'}"
    with pytest.raises(SetupError, match="Not a directory"):
        journal.entries()


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of three pages, two of which are the folder's and the first file's."""
    place = tmp_path / "tiny"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12k,nr_inodes=64", "tiny", str(place)], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"needs root that may mount: sudo pytest tests/host/test_journal.py ({done.stderr.strip()})")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_file_system_that_is_really_full(tiny: Path) -> None:
    """At every size of what is left: the entry is there, whole, or that there is no room is said."""
    journal = Journal(tiny / "bindings")
    journal.put(ENTRY)
    virtual = {f"0000:6b:00.{number % 8}": Binding("iavf", None, None) for number in range(8)}
    large = Entry(IAA, "8086:0cfe", Binding("idxd", None, None), "1" * 6000, 2.0, virtual)
    filler = tiny / "filler"
    answers: set[int | None] = set()
    for pages in range(3):  # the first entry has one of three, the large one needs two
        filler.write_bytes(bytes(4096 * pages))
        try:
            journal.put(large)
            answers.add(0)
        except SetupError as error:
            answers.add(error.errno)
        assert [one.address for one in journal.entries()] in ([DSA], [DSA, IAA])
        assert all(one in (ENTRY, large) for one in journal.entries())
        assert not list(journal.folder.glob("*.new"))
        if journal.get(IAA) is not None:
            journal.drop(IAA)
        filler.unlink()
    assert answers == {0, errno.ENOSPC}


def test_an_entry_that_was_cut_is_refused_in_plain_words(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "bindings")
    journal.put(ENTRY)
    place = journal.folder / f"{DSA}.json"
    place.write_text(place.read_text()[:20])
    with pytest.raises(SetupError, match=r"not what this version wrote: line \d, column \d+: ") as refused:
        journal.entries()
    assert "Expecting" not in str(refused.value)

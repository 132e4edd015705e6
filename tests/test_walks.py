# SPDX-License-Identifier: Apache-2.0
"""How many files a reader opens to follow a call: ``allocate()`` on donors that are attached, above the seam.

docs/architecture.md has the walk in words. What makes it longer fails here until it says what the new file does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import vfio_ims

PACKAGE = Path(vfio_ims.__file__).resolve().parent

BELOW = ("ports/", "backends/", "native/", "platform/", "vfio_user/", "models/")
"""The seam and what is beneath it: neither they nor what they call is counted."""

ABOVE = {
    "ims/domain.py": "the call: checks that the domain is open, takes the lock, makes the handle",
    "ims/request.py": "checks what is asked for, against what the table has",
    "ims/allocator.py": "takes a slot into use: the record, the donor, the entry; all or none",
    "ims/records.py": "finds a free slot; keeps its donor, mask, cookie and PASID",
    "ims/table_donors.py": "chooses among the donors that the table may use",
    "interrupts/donor_pool.py": "knows the device's attached vectors, their messages and loads",
    "ims/donor.py": "keeps the slots on that vector, and whom to wake",
    "ims/slot_array.py": "looks for a pending bit; writes the entry: masked, the message, unmasked last",
    "ims/dispatch.py": "notes that older events are not this owner's; delivers the new ones",
    "interrupts/hub.py": "makes the flag that events raise",
    "interrupts/wakeup.py": "is that flag",
    "ims/interrupt.py": "is the handle that the caller gets",
}

SHARED = {
    "lifetime.py": "refuses what is closed or forked",
    "errors.py": "checks the kinds of arguments",
    "locks.py": "the device's lock",
    "interruption.py": "holds Ctrl-C back while it is held",
    "registers/slots.py": "where an entry is, and its control word",
    "registers/entry_words.py": "the words that are stored to an entry",
    "messages/slot.py": "the value of an entry",
}
"""Pure rooms and the ground floor, which both sides of the seam stand on."""


@contextmanager
def files_entered() -> Iterator[list[str]]:
    """The package's files whose functions run, in order, without those that run beneath the seam."""
    entered: list[str] = []
    beneath = 0

    def note(frame: FrameType, event: str, _: object) -> None:
        nonlocal beneath
        path = Path(frame.f_code.co_filename)
        if event not in ("call", "return") or not path.is_relative_to(PACKAGE):
            return
        name = path.relative_to(PACKAGE).as_posix()
        if name.startswith(BELOW):
            beneath += 1 if event == "call" else -1
        elif event == "call" and not beneath and name not in entered:
            entered.append(name)

    sys.setprofile(note)
    try:
        yield entered
    finally:
        sys.setprofile(None)


def walk(act: Callable[[], object]) -> list[str]:
    with files_entered() as entered:
        act()
    return entered


def test_allocate_on_attached_donors_crosses_twelve_files_above_the_seam() -> None:
    with vfio_ims.open_driver("mock:intel-dsa") as driver:
        for _ in driver.ims.eligible_vectors:
            driver.ims.allocate()
        files = walk(lambda: driver.ims.allocate(cookie="a queue", any_pasid=True))  # a plain one is not checked
    assert [name for name in files if name not in SHARED] == list(ABOVE)
    assert {name for name in files if name in SHARED} == set(SHARED)
    assert len(ABOVE) <= 12

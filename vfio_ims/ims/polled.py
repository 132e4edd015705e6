# SPDX-License-Identifier: Apache-2.0
"""Polled slots: their message is a write to ordinary DMA memory, so that firing sets a word instead of interrupting."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING, Self

from vfio_ims.errors import ClosedError, DeviceBusy
from vfio_ims.lifetime import leaving
from vfio_ims.messages import Format, Message
from vfio_ims.native.access import clear_each, load, load_each, poll_memory, store

if TYPE_CHECKING:
    from vfio_ims.device import Device
    from vfio_ims.dma import Buffer
    from vfio_ims.ims.records import SlotRecords
    from vfio_ims.ims.slot_owner import SlotOwner

__all__ = ["PolledSlot", "PolledWord", "PolledWords", "poll_each"]

_FIRED = 1
_WORDS_A_PAGE = mmap.PAGESIZE // 4


class PolledWord:
    """A 32-bit word of DMA memory, and the message that sets it.

    It holds the memory: a read while another thread closes the device reads a word that is never set again.
    """

    def __init__(self, address: int, iova: int, memory: memoryview) -> None:
        self.address, self.message, self._memory = address, Message(iova, _FIRED, Format.MEMORY), memory


class PolledWords:
    """Pages of words, mapped as they are needed. A word is handed out cleared."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._pages: list[Buffer] = []
        self._free: list[PolledWord] = []
        self._used: dict[tuple[int, int], PolledWord] = {}  # by address and data of the message

    def take(self, count: int) -> list[PolledWord]:
        """``count`` words, or none where no more memory can be mapped."""
        while len(self._free) < count:
            page = self._device.dma.allocate(4 * _WORDS_A_PAGE)
            self._pages.append(page)
            memory, places = page.view, reversed(range(0, 4 * _WORDS_A_PAGE, 4))
            self._free[:0] = [PolledWord(page.address + at, page.iova + at, memory) for at in places]
        words = self._free[: -count - 1 : -1]
        del self._free[-count:]
        clear_each([word.address for word in words], 4)
        self._used.update(((word.message.address, word.message.data), word) for word in words)
        return words

    def give_back(self, messages: Iterable[Message]) -> None:
        """Those of ``messages`` that are a word's: it is free again."""
        for message in messages:
            word = self._used.pop((message.address, message.data), None)
            if word is not None:
                self._free.append(word)

    def close(self) -> None:
        pages, self._pages = self._pages, []
        self._free.clear()
        self._used.clear()
        with ExitStack() as each:
            for page in pages:
                each.callback(page.close)


class PolledSlot:
    """A level flag that its owner clears: it says that the slot fired, not how often."""

    def __init__(self, domain: SlotOwner, records: SlotRecords, slot: int, word: PolledWord) -> None:
        self.domain, self._records, self.slot, self._word = domain, records, slot, word
        self._closed = False

    def _open(self, operation: str) -> None:
        if self._closed:
            raise ClosedError(f"{operation} slot {self.slot}", device=self.domain.label, why="closed by its owner")
        self.domain.check_open(operation)
        if self._records.message.get(self.slot) is not self._word.message:
            raise DeviceBusy(
                f"{operation} slot {self.slot}", device=self.domain.label, why="it was given to another owner"
            )

    @property
    def message(self) -> Message:
        """The message in the slot: the DMA address of its word, and the data that a fire writes there."""
        return self._word.message

    @property
    def value(self) -> int:
        """The word now: 0 until the slot fires. Reading leaves it."""
        self._open("read")
        return load(self._word.address, 4)

    def poll(self) -> bool:
        """Whether the slot fired since it was last asked; clears the flag.

        A fire between look and clear is kept: the flag is cleared before the owner looks at what happened.
        """
        self._open("poll")
        if not load(self._word.address, 4):
            return False
        store(self._word.address, 4, 0)
        return True

    @property
    def settle(self) -> float:
        """Seconds after which an interrupt that has not arrived on this mount will not."""
        return self.domain.settle

    def wait(self, timeout: float) -> bool:
        """Poll in one compiled loop; False after ``timeout`` seconds."""
        self._open("poll")
        poll_memory(self._word.address, 4, 0xFFFF_FFFF, _FIRED, timeout)
        return self.poll()

    def close(self) -> None:
        """Quiesce the slot and give it back; safe to call again."""
        if not self._closed:
            self._closed = True
            self.domain.release([self.slot], "its owner")

    def __enter__(self) -> Self:
        self._open("use")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        leaving(error)
        self.close()

    def __str__(self) -> str:
        return f"slot {self.slot} -> {self.message}"


def poll_each(slots: Sequence[PolledSlot]) -> list[bool]:
    """``poll`` of each of ``slots``, which are one domain's."""
    for one in slots[:1]:
        one.domain.check_open("poll")
    for one in slots:
        if one._closed or one._records.message.get(one.slot) is not one._word.message:
            one._open("poll")  # raises why it cannot be
    addresses = [one._word.address for one in slots]
    fired = [value != 0 for value in load_each(addresses, 4)]
    clear_each([address for address, set_ in zip(addresses, fired, strict=True) if set_], 4)
    return fired

# SPDX-License-Identifier: Apache-2.0
"""The link to a device model in this process: the mock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from vfio_ims.errors import BusFault

if TYPE_CHECKING:
    from vfio_ims.ports.link import PlainAccess
    from vfio_ims.ports.model import Bus, ModelPort
    from vfio_ims.ports.values import DeviceInfo, IrqInfo, RegionInfo

__all__ = ["InProcessLink"]

_MOST_FAULTS = 4096  # for one access; a model that faults without end is not followed further


class InProcessLink:
    """``Link`` to ``model``: each access takes the model's lock, is answered, and then the model acts.

    ``keep``: closing the link leaves the model as it is, so that another link can open it again (a function outlives
    those who use it).
    """

    mount = "mock"
    settle = 0.02
    carries_pasids = True

    def __init__(self, model: ModelPort, *, keep: bool = False) -> None:
        self.model, self._keep, self._open = model, keep, True
        self.name = model.name
        self._lock = model.lock
        self._read, self._write, self._model_act = model.read, model.write, model.act
        self._write_words: Callable[[int, Sequence[tuple[int, bytes]]], int] | None
        self._write_words = getattr(model, "write_words", None)

    def _act(self) -> None:
        try:
            self._model_act()
        except BusFault:
            self._act_on()

    def _act_on(self) -> None:
        """A posted write that went nowhere is in the platform's log; the writer of the register is not notified.

        What the model had left to do is done all the same.
        """
        for _ in range(_MOST_FAULTS):
            try:
                self._model_act()
            except BusFault:
                continue
            return

    def connect(self, bus: Bus) -> None:
        with self._lock:
            self.model.attach(bus)

    def device_info(self) -> DeviceInfo:
        with self._lock:
            return self.model.device_info()

    def region_info(self, index: int) -> RegionInfo:
        with self._lock:
            return self.model.region_info(index)

    def irq_info(self, index: int) -> IrqInfo:
        with self._lock:
            return self.model.irq_info(index)

    def mapping_fd(self, index: int) -> int | None:
        with self._lock:
            return next((area.fd for area in self.model.shared_areas() if area.region == index), None)

    def read(self, region: int, offset: int, size: int) -> bytes:
        with self._lock:
            data = self._read(region, offset, size)
            try:
                self._model_act()
            except BusFault:
                self._act_on()
        return data

    def write(self, region: int, offset: int, data: bytes) -> None:
        with self._lock:
            self._write(region, offset, data)
            try:
                self._model_act()
            except BusFault:
                self._act_on()

    def read_many(self, region: int, offsets: Sequence[int], size: int) -> bytes:
        """As so many reads: the model acts after each."""
        read, act, found = self._read, self._model_act, []
        with self._lock:
            for offset in offsets:
                found.append(read(region, offset, size))
                try:
                    act()
                except BusFault:
                    self._act_on()
        return b"".join(found)

    def write_many(self, region: int, writes: Sequence[tuple[int, bytes]]) -> None:
        """As so many writes: the model acts after each, so that masked first and unmasked last means what it says."""
        write, act = self._write, self._model_act
        with self._lock:
            taken = self._write_words(region, writes) if self._write_words is not None else 0
            for offset, data in writes[taken:] if taken else writes:
                write(region, offset, data)
                try:
                    act()
                except BusFault:
                    self._act_on()

    def plain_access(self, region: int, excluded: range) -> PlainAccess | None:
        """What of a BAR the model lets its mount read and write by itself; None from one that has no such part.

        ``excluded``: offsets that the mount answers.
        """
        access: Callable[[int, range], PlainAccess | None] | None = getattr(self.model, "plain_access", None)
        return None if access is None else access(region, excluded)

    def enqueue(self, region: int, offset: int, data: bytes) -> bool:
        """A 64-byte store that the device answers: True accepted, False retry.

        A model that has shared queues implements ``enqueue(region, offset, data) -> bool``; others take a write.
        """
        answer: Callable[[int, int, bytes], bool] | None = getattr(self.model, "enqueue", None)
        with self._lock:
            accepted = True
            if answer is None:
                self._write(region, offset, data)
            else:
                accepted = answer(region, offset, data)
            self._act()
        return accepted

    def set_vectors(self, index: int, start: int, armed: Sequence[bool]) -> None:
        """Do nothing: the platform drops an interrupt that has no listener."""

    def map(self, iova: int, size: int, fd: int, offset: int, *, read: bool, write: bool) -> None:
        """Do nothing: the model reaches memory through the bus."""

    def unmap(self, iova: int, size: int) -> None:
        self.drain()

    def drain(self) -> None:
        """Return when the model is between accesses: it has let go of every view of memory."""
        with self._lock:
            pass

    def reset(self) -> None:
        with self._lock:
            self.model.reset()
            self._act()

    def close(self) -> None:
        if self._open:
            self._open = False
            if not self._keep:
                with self._lock:
                    self.model.close()

# SPDX-License-Identifier: Apache-2.0
"""A link to a device on the far side of a vfio-user socket: our own server's, or any other's."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import groupby
from typing import TYPE_CHECKING

from vfio_ims.counted import counted
from vfio_ims.errors import ClosedError, VfioImsError
from vfio_ims.interruption import uninterrupted
from vfio_ims.lifetime import Owner, close_at_exit
from vfio_ims.ports.values import DeviceInfo, IrqFlags, IrqIndex, IrqInfo, IrqSet, RegionInfo
from vfio_ims.vfio_user.accesses import Accesses
from vfio_ims.vfio_user.channel import Channel
from vfio_ims.vfio_user.client_answers import Answering
from vfio_ims.vfio_user.dial import dial
from vfio_ims.vfio_user.forked import dropped_in_child
from vfio_ims.vfio_user.host_side import HostSide
from vfio_ims.vfio_user.infos import decode_device_info, decode_irq_info, decode_region_info
from vfio_ims.vfio_user.messages import DEVICE_INFO, DMA_MAP, DMA_UNMAP, IRQ_INFO, IRQ_SET, REGION_INFO, DmaFlags
from vfio_ims.vfio_user.requester import Requester
from vfio_ims.vfio_user.transport import MAX_FDS, close_all
from vfio_ims.vfio_user.watcher import VectorEvents, Watcher
from vfio_ims.vfio_user.wire import MAX_TRANSFER, Command, WireError, malformed

if TYPE_CHECKING:
    from vfio_ims.ports.model import Bus

__all__ = ["SocketLink"]

_ROOM_FOR_INFO = 4096


class SocketLink(Owner):
    """Satisfies ``Link`` over the socket ``path``. Safe for threads; the constructor connects and negotiates.

    ``timeout``: seconds within which the server answers; one that does not is given up, and every call from then on
    raises RemovedError. A server that says what cannot be raises DeviceError where one reply is wrong, RemovedError
    where the stream is. ``share_memory`` False: the server gets no files of DMA memory and reaches it by message only,
    as it does the memory of a QEMU that does not share it. The bus is called in whichever thread receives: it must not
    wait for another one that is in a call here.
    """

    mount = "vfio-user"
    settle = 0.1

    def __init__(self, path: str | os.PathLike[str], *, timeout: float = 5.0, share_memory: bool = True) -> None:
        self.path, self._share_memory = os.fspath(path), share_memory
        name = f"vfio-user:{self.path}"
        connection, self._server = dial(self.path, name, timeout)
        with uninterrupted():  # from the first descriptor that is no object's to the owner of all of them
            self._answering = Answering(name)
            with ExitStack() as undo:
                undo.callback(connection.close)
                watcher = Watcher(f"{name} receiver")
                undo.callback(watcher.drop)
                self._channel = Channel(connection, watcher, timeout, self._answering.answer)
                undo.pop_all()
            super().__init__(name)
            close_at_exit(self)
            self._events = VectorEvents(watcher, self._interrupt)
            self._requester = Requester(self._channel, name)
            self._accesses = Accesses(self._requester, self._server)
            self._files: dict[int, int] = {}
            self._automasked = False
            self._lock = threading.Lock()
            dropped_in_child(self)
            watcher.start()

    def drop(self) -> None:
        """In a forked child."""
        files, self._files = self._files, {}
        close_all(files.values())

    @property
    def name(self) -> str:
        """What errors call the device: ``vfio-user:`` and the socket's path."""
        return self.label

    @property
    def host(self) -> HostSide | None:
        """What plays the kernel on the far side, where the server has opened a function; None: it is a bare device."""
        return self._server.host if isinstance(self._server.host, HostSide) else None

    def connect(self, bus: Bus) -> None:
        """Give the device its way out: from now on it may reach memory and raise interrupts."""
        self.check_open("connect")
        self._answering.bus = bus

    def on_lost(self, notify: Callable[[VfioImsError], None]) -> None:
        """Call ``notify`` once when the server is gone: no interrupt will come any more."""
        self._channel.on_lost(notify)

    def _release(self) -> None:
        self._channel.close(
            ClosedError("reach the vfio-user server", device=self.label, why=f"closed by {self._closed_by}")
        )
        self._events.close_all()
        with self._lock:
            close_all(self._files.values())
            self._files.clear()

    # --- what the device is -------------------------------------------------------------------------------------------

    def device_info(self) -> DeviceInfo:
        """Ask the server (DEVICE_GET_INFO). DeviceError where its answer is malformed."""
        self.check_open("device info")
        reply = self._requester.request(Command.DEVICE_GET_INFO, DEVICE_INFO.pack(DEVICE_INFO.size, 0, 0, 0))
        return self._requester.decode(reply, decode_device_info)

    def irq_info(self, index: int) -> IrqInfo:
        """Ask the server for ``index`` (DEVICE_GET_IRQ_INFO)."""
        self.check_open("IRQ info")
        reply = self._requester.request(Command.DEVICE_GET_IRQ_INFO, IRQ_INFO.pack(IRQ_INFO.size, 0, index, 0))
        info = self._requester.decode(reply, lambda payload: decode_irq_info(payload, index))
        if index == IrqIndex.INTX:
            self._automasked = IrqFlags.AUTOMASKED in info.flags
        return info

    def region_info(self, index: int) -> RegionInfo:
        """Ask the server for region ``index`` (DEVICE_GET_REGION_INFO), and keep the file of one that can be mapped.

        DeviceError where the answer is malformed, or the file is smaller than the areas in it.
        """
        self.check_open("region info")
        info, missing = self._region_info(index, _ROOM_FOR_INFO)
        if missing:
            info, missing = self._region_info(index, missing)
        if missing:
            error = WireError("argsz", "the same twice", missing)
            raise self._requester.wrong_answer(Command.DEVICE_GET_REGION_INFO, error)
        return info

    def _region_info(self, index: int, room: int) -> tuple[RegionInfo, int]:
        """The region, and 0; or the room that its full description needs. The file of a mappable one is kept."""
        request = REGION_INFO.pack(room, 0, index, 0, 0, 0)
        reply = self._requester.request(Command.DEVICE_GET_REGION_INFO, request, takes_fds=True)
        fds = list(reply.fds)
        try:
            info, full = decode_region_info(reply.payload, index)
            if full > len(reply.payload):
                if not room < full <= MAX_TRANSFER:
                    malformed("argsz", f"the {counted(len(reply.payload), 'byte')} that came", full)
                return info, full
            if info.areas:
                self._keep_file(info, fds)
            return info, 0
        except WireError as error:
            raise self._requester.wrong_answer(reply.command, error) from error
        finally:
            close_all(fds)

    def _keep_file(self, info: RegionInfo, fds: list[int]) -> None:
        """Take the region's file out of ``fds``. It must hold what it is said to: touching more of it would kill."""
        if len(fds) != 1:
            malformed("descriptors", "one, of a region that can be mapped", len(fds))
        need, size = info.offset + info.areas[-1].end, os.fstat(fds[0]).st_size
        if size < need and not _is_function(fds[0]):
            malformed("descriptor", f"a file of {need:#x} bytes at least", f"{size:#x} bytes")
        with self._lock:
            if info.index not in self._files:
                self._files[info.index] = fds.pop()

    def mapping_fd(self, index: int) -> int | None:
        """The region's file where it has one, once ``region_info`` was asked. It stays the link's."""
        return self._files.get(index)

    # --- accesses -----------------------------------------------------------------------------------------------------

    def read(self, region: int, offset: int, size: int) -> bytes:
        """One read of ``size`` bytes at ``offset`` of ``region`` (REGION_READ)."""
        self.check_open("read")
        return self._accesses.read(region, offset, size)

    def write(self, region: int, offset: int, data: bytes) -> None:
        """One write of ``data`` at ``offset`` of ``region`` (REGION_WRITE)."""
        self.check_open("write")
        self._accesses.write(region, offset, data)

    def read_many(self, region: int, offsets: Sequence[int], size: int) -> bytes:
        """Reads of ``size`` bytes at each of ``offsets`` of ``region``. All are sent before an answer is waited for."""
        self.check_open("read")
        return self._accesses.read_many(region, offsets, size)

    def write_many(self, region: int, writes: Sequence[tuple[int, bytes]]) -> None:
        """Writes in order; in one message where the server takes several (REGION_WRITE_MULTI)."""
        self.check_open("write")
        self._accesses.write_many(region, writes)

    # --- interrupts, memory, reset ------------------------------------------------------------------------------------

    def _interrupt(self, index: int, vector: int) -> None:
        """A vector's eventfd was signalled: first what the server wrote before it, by message.

        The two come by different ways. While another thread is in a call, that one receives, and the interrupt may
        overtake a write that is on its way. Memory that has a file is written before either.
        """
        self._channel.catch_up()
        self._answering.interrupt(index, vector)

    def set_vectors(self, index: int, start: int, armed: Sequence[bool]) -> None:
        """An eventfd for each vector of ``index`` from ``start`` on that is ``armed``; none for the others.

        They are made here, and sent in as few messages as the server takes descriptors.
        """
        self.check_open("set vectors")
        at = start
        for on, group in groupby(armed):
            vectors = range(at, at + len(list(group)))
            if on:
                self._arm(index, vectors)
            else:
                self._disarm(index, vectors)
            at = vectors.stop

    def _arm(self, index: int, vectors: range) -> None:
        most = max(min(self._server.max_msg_fds, MAX_FDS), 1)
        for first in range(vectors.start, vectors.stop, most):
            part = range(first, min(first + most, vectors.stop))
            try:
                fds = [self._events.open(index, vector) for vector in part]
                self._set_irqs(index, IrqSet.DATA_EVENTFD, part, fds)
            except BaseException:
                for vector in part:
                    self._events.close(index, vector)
                raise

    def _disarm(self, index: int, vectors: range) -> None:
        """Without descriptors the server forgets its own; the last one out disables the whole kind."""
        had = self._events.armed(index)
        for vector in vectors:
            self._events.close(index, vector)
        if self._events.armed(index):
            self._set_irqs(index, IrqSet.DATA_EVENTFD, vectors, [])
        elif had:
            self._set_irqs(index, IrqSet.DATA_NONE, range(0), [])

    def unmask_intx(self) -> bool:
        """Let the server signal INTx again. True: it masked itself, and signals by itself a line that is asserted."""
        if self._automasked and self._events.armed(IrqIndex.INTX):
            self._set_irqs(IrqIndex.INTX, IrqSet.DATA_NONE, range(1), [], IrqSet.ACTION_UNMASK)
        return self._automasked

    def set_irqs(self, index: int, flags: int, start: int, count: int, data: Sequence[int] = ()) -> None:
        """VFIO's verb as it is, for a server that is no bare device: see ``DevicePort.set_irqs``.

        ``index``: the kind of interrupt. ``flags``: ``IrqSet``'s, one kind of data and one action. ``start`` and
        ``count``: which vectors. ``data``: their eventfds, or 0 or 1 each. Descriptors go in as few messages as the
        server takes, those of -1 in messages of their own.
        """
        self.check_open("set interrupts")
        if not flags & IrqSet.DATA_EVENTFD:
            request = IRQ_SET.pack(IRQ_SET.size + len(data), flags, index, start, count) + bytes(data)
            self._requester.request(Command.DEVICE_SET_IRQS, request)
            return
        most = max(min(self._server.max_msg_fds, MAX_FDS), 1)
        at = start
        for on, group in groupby(data, lambda fd: fd >= 0):
            fds = list(group)
            step = most if on else len(fds)
            for first in range(0, len(fds), step):
                part = fds[first : first + step]
                request = IRQ_SET.pack(IRQ_SET.size, flags, index, at, len(part))
                self._requester.request(Command.DEVICE_SET_IRQS, request, part if on else ())
                at += len(part)

    def _set_irqs(
        self,
        index: int,
        data: IrqSet,
        vectors: range,
        fds: Sequence[int],
        action: IrqSet = IrqSet.ACTION_TRIGGER,
    ) -> None:
        flags = data | action
        request = IRQ_SET.pack(IRQ_SET.size, flags, index, vectors.start, len(vectors))
        self._requester.request(Command.DEVICE_SET_IRQS, request, fds)

    def map(self, iova: int, size: int, fd: int, offset: int, *, read: bool, write: bool) -> None:
        """Announce ``size`` bytes at ``iova`` to the server (DMA_MAP), with the rights ``read`` and ``write``.

        ``fd`` and ``offset``: the file that the server maps. With -1 it has to read and write by messages.
        """
        self.check_open("map")
        if not self._share_memory:
            fd = -1
        flags = (DmaFlags.READ if read else 0) | (DmaFlags.WRITE if write else 0)
        request = DMA_MAP.pack(DMA_MAP.size, flags, offset if fd >= 0 else 0, iova, size)
        self._requester.request(Command.DMA_MAP, request, (fd,) if fd >= 0 else ())

    def unmap(self, iova: int, size: int) -> None:
        """Take an announcement back (DMA_UNMAP). The server answers when it does not touch the memory any more."""
        self.check_open("unmap")
        self._requester.request(Command.DMA_UNMAP, DMA_UNMAP.pack(DMA_UNMAP.size, 0, iova, size))

    def reset(self) -> None:
        """Have the server reset its device (DEVICE_RESET)."""
        self.check_open("reset")
        self._requester.request(Command.DEVICE_RESET, b"")


def _is_function(fd: int) -> bool:
    """Whether it is a function behind VFIO, by its node or its group: its driver refuses to map what is not there."""
    where = os.readlink(f"/proc/self/fd/{fd}")
    return where == "anon_inode:[vfio-device]" or where.startswith("/dev/vfio/devices/")

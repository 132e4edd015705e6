# SPDX-License-Identifier: Apache-2.0
"""Both ends of a socket: a small device model behind our server, a bus that remembers, a raw client that lies."""

from __future__ import annotations

import array
import fcntl
import mmap
import os
import queue
import socket
import struct
import threading
from pathlib import Path

import pytest

from tests.descriptors import Descriptors
from tests.vfio_user.lying import Liar
from vfio_ims.errors import BusFault
from vfio_ims.native.events import notify
from vfio_ims.ports.model import SharedArea
from vfio_ims.ports.values import (
    Area,
    DeviceFlags,
    DeviceInfo,
    IrqFlags,
    IrqIndex,
    IrqInfo,
    RegionFlags,
    RegionIndex,
    RegionInfo,
)
from vfio_ims.vfio_user import Server, SocketLink
from vfio_ims.vfio_user.wire import HEADER

READ_WRITE = RegionFlags.READ | RegionFlags.WRITE


def number(value: int) -> bytes:
    """As the test device's registers hold it."""
    return value.to_bytes(8, "little")


class Device:
    """BAR 0: memory, with a few registers that act. 0x2000 up is shared memory; ``done`` gets what was done."""

    ADDRESS, DATA, LENGTH, DO = 0x10, 0x18, 0x20, 0x28
    BUFFER, SHARED = 0x1000, 0x2000
    SEND, RAISE, READ, WRITE, WORKER_READ, FAIL, VIEW = range(1, 8)
    SIZES = {RegionIndex.BAR0: 0x4000, RegionIndex.BAR2: 3 << 20, RegionIndex.CONFIG: 4096}

    def __init__(self) -> None:
        self.name, self.lock = "test device", threading.RLock()
        self.memory = {region: bytearray(size) for region, size in self.SIZES.items()}
        self.memory[RegionIndex.CONFIG][:4] = struct.pack("<HH", 0x1234, 0x1A55)
        self.fd = os.memfd_create("area", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, 0x4000)
        self.shared = mmap.mmap(self.fd, 0x4000)
        self.todo: list[int] = []
        self.done: queue.SimpleQueue[object] = queue.SimpleQueue()
        self.accesses: list[tuple[str, int, int, int]] = []
        self.resets = 0
        self.threads: list[threading.Thread] = []
        self.irq_flags = {IrqIndex.MSIX: IrqFlags.EVENTFD}

    def device_info(self) -> DeviceInfo:
        return DeviceInfo(DeviceFlags.PCI | DeviceFlags.RESET, 9, 5)

    def region_info(self, index: int) -> RegionInfo:
        size = self.SIZES.get(RegionIndex(index), 0)
        areas = (Area(self.SHARED, 0x2000),) if index == 0 else ()
        return RegionInfo(index, READ_WRITE if size else RegionFlags(0), size, 0, areas)

    def irq_info(self, index: int) -> IrqInfo:
        count = {IrqIndex.INTX: 1, IrqIndex.MSIX: 2048, IrqIndex.ERR: 1, IrqIndex.REQ: 1}.get(IrqIndex(index), 0)
        return IrqInfo(index, self.irq_flags.get(IrqIndex(index), IrqFlags.EVENTFD), count)

    def shared_areas(self) -> list[SharedArea]:
        return [SharedArea(0, self.SHARED, 0x2000, self.fd)]

    def attach(self, bus: object) -> None:
        self.bus = bus

    def read(self, region: int, offset: int, size: int) -> bytes:
        self.accesses.append(("read", region, offset, size))
        if offset == 0xF00 and region == 0:
            raise RuntimeError("a bug of the model's")
        return bytes(self.memory[RegionIndex(region)][offset : offset + size])

    def write(self, region: int, offset: int, data: bytes) -> None:
        self.accesses.append(("write", region, offset, len(data)))
        self.memory[RegionIndex(region)][offset : offset + len(data)] = data
        if region == 0 and offset == self.DO:
            self.todo.append(int.from_bytes(data, "little"))

    def _number(self, offset: int) -> int:
        return int.from_bytes(self.memory[RegionIndex.BAR0][offset : offset + 8], "little")

    def act(self) -> None:
        while self.todo:
            self._act(self.todo.pop(0), self._number(self.ADDRESS), self._number(self.DATA), self._number(self.LENGTH))

    def _act(self, what: int, address: int, data: int, length: int) -> None:
        buffer = self.memory[RegionIndex.BAR0]
        if what == self.SEND:
            self.bus.write(address, data.to_bytes(4, "little"))
        elif what == self.RAISE:
            self.bus.interrupt(address, data)
        elif what == self.READ:
            buffer[self.BUFFER : self.BUFFER + length] = self.bus.read(address, length)
        elif what == self.WRITE:
            self.bus.write(address, bytes(buffer[self.BUFFER : self.BUFFER + length]))
        elif what == self.WORKER_READ:
            self.threads.append(threading.Thread(target=self._worker_read, args=(address, length)))
            self.threads[-1].start()
        elif what == self.VIEW:
            self.done.put([bytes(view) for view in self.bus.views(address, length, write=True)])
        elif what == self.FAIL:
            raise RuntimeError("another bug")

    def _worker_read(self, address: int, length: int) -> None:
        try:
            self.done.put(self.bus.read(address, length))
        except BusFault as fault:
            self.done.put(fault)

    def reset(self) -> None:
        self.resets += 1
        self.memory[RegionIndex.BAR0][:] = bytes(0x4000)

    def close(self) -> None:
        for thread in self.threads:
            thread.join(5)
        self.shared.close()
        os.close(self.fd)


class Bus:
    """The client's platform: a dictionary of memory, and everything that came, in order."""

    def __init__(self) -> None:
        self.memory: dict[int, bytearray] = {}
        self.came: queue.SimpleQueue[tuple[object, ...]] = queue.SimpleQueue()
        self.threads: set[str] = set()

    def _find(self, iova: int, size: int, write: bool) -> memoryview:
        for start, memory in self.memory.items():
            if start <= iova and iova + size <= start + len(memory):
                return memoryview(memory)[iova - start : iova - start + size]
        raise BusFault(iova, size, write=write, why="nothing there")

    def read(self, iova: int, size: int, pasid: int | None = None) -> bytes:
        return bytes(self._find(iova, size, False))

    def write(self, iova: int, data: bytes, pasid: int | None = None) -> None:
        self.threads.add(threading.current_thread().name)
        if len(data) == 4 and 0xFEE00000 <= iova < 0xFEF00000:
            self.came.put(("message", iova, int.from_bytes(data, "little")))
            return
        self._find(iova, len(data), True)[:] = data
        self.came.put(("write", iova, len(data)))

    def views(self, iova: int, size: int, *, write: bool, pasid: int | None = None) -> list[memoryview]:
        return [self._find(iova, size, write)]

    def interrupt(self, index: int, vector: int) -> None:
        self.came.put(("interrupt", index, vector))

    def next(self, timeout: float = 2.0) -> tuple[object, ...]:
        return self.came.get(timeout=timeout)


class Raw:
    """A client (or server) that sends what it likes, and says what came back."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(5)
        self.number = 100

    def send(
        self, command: int, payload: bytes = b"", *, flags: int = 0, fds: tuple[int, ...] = (), **header: int
    ) -> None:
        self.number += 1
        fields = {"id": self.number, "size": 16 + len(payload)} | header
        data = HEADER.pack(fields["id"], command, fields["size"], flags, 0) + payload
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.sock.sendmsg([data], rights)

    def receive(self) -> tuple[int, int, int, int, bytes, list[int]]:
        """id, command, flags, error, payload, descriptors."""
        head, fds, _, _ = socket.recv_fds(self.sock, 16, 32, socket.MSG_WAITALL)
        if len(head) < 16:
            raise ConnectionError("closed")
        number, command, size, flags, error = HEADER.unpack(head)
        payload = b""
        while len(payload) < size - 16:
            payload += self.sock.recv(size - 16 - len(payload))
        return number, command, flags, error, payload, fds

    def ask(self, command: int, payload: bytes = b"", **more: object) -> tuple[int, bytes]:
        """The errno of the reply, and its payload. The reply must be to this request."""
        self.send(command, payload, **more)  # type: ignore[arg-type]
        number, replied, flags, error, body, fds = self.receive()
        assert (number, replied, flags & 0xF) == (self.number, command, 1)
        assert bool(flags & 0x20) == bool(error)
        for fd in fds:
            os.close(fd)
        return error, body

    def hello(self, text: bytes = b'{"capabilities":{"max_msg_fds":8,"write_multiple":true}}\0') -> Raw:
        error, _ = self.ask(1, struct.pack("HH", 0, 1) + text)
        assert error == 0
        return self


@pytest.fixture
def device():
    model = Device()
    yield model
    model.close()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "device.sock")


@pytest.fixture
def server(device: Device, path: str):
    with Server(device, path) as running:
        yield running


@pytest.fixture
def bus() -> Bus:
    return Bus()


@pytest.fixture
def link(server: Server, bus: Bus):
    with SocketLink(server.path) as made:
        made.connect(bus)
        yield made


@pytest.fixture
def do(link, device):
    """Have the device do something with an address, data and a length."""

    def run(what: int, address: int = 0, data: int = 0, length: int = 0) -> None:
        link.write(0, device.ADDRESS, number(address) + number(data) + number(length))
        link.write(0, device.DO, number(what))

    return run


@pytest.fixture
def guest():
    """A file of memory that can be mapped: a client's."""
    fd = os.memfd_create("guest memory", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, 1 << 20)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    yield fd
    os.close(fd)


@pytest.fixture
def raw(server: Server):
    """A client that has its VERSION behind it."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(server.path)
        yield Raw(sock).hello()


@pytest.fixture
def dial(server: Server):
    """Clients without a VERSION, as many as one likes."""
    made: list[socket.socket] = []

    def call() -> Raw:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(server.path)
        made.append(sock)
        return Raw(sock)

    yield call
    for sock in made:
        sock.close()


@pytest.fixture
def kit():
    """The classes of this file, for tests that build their own."""

    class Kit:
        device, bus, raw = Device, Bus, Raw

    return Kit


@pytest.fixture
def fds() -> Descriptors:
    """What of this process's descriptors was opened since, and whether it is closed again."""
    event = os.eventfd(0)
    notify(event)  # keeps one descriptor for the process, made on first use
    os.close(event)
    return Descriptors()


@pytest.fixture
def liar(path, kit):
    made = Liar(path, kit.raw)
    yield made
    made.close()


@pytest.fixture
def lied(request, liar, path, bus, fds):
    """A link to the liar, that waits 20 s, or its parameter in seconds; afterwards nothing of it is open."""
    with SocketLink(path, timeout=getattr(request, "param", 20)) as made:
        made.connect(bus)
        yield made
    liar.close_peer = liar.thread.join(2)
    assert not fds.left()

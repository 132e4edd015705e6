# SPDX-License-Identifier: Apache-2.0
"""A client that uses what both sides share against the server: it neither hangs nor ends, and serves the next one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from vfio_ims.errors import BusFault
from vfio_ims.ports.values import IrqIndex, IrqSet, RegionIndex
from vfio_ims.testing.server import ServedModel
from vfio_ims.vfio_user import Server, SocketLink
from vfio_ims.vfio_user.messages import DMA_MAP, IRQ_SET, REGION_ACCESS
from vfio_ims.vfio_user.wire import Command

FULL = (1 << 64) - 2
MSIX = IrqIndex.MSIX


def arm(raw, event: int) -> None:
    request = IRQ_SET.pack(IRQ_SET.size, IrqSet.DATA_EVENTFD | IrqSet.ACTION_TRIGGER, MSIX, 0, 1)
    assert raw.ask(Command.DEVICE_SET_IRQS, request, fds=(event,))[0] == 0


def trigger(raw) -> None:
    request = IRQ_SET.pack(IRQ_SET.size, IrqSet.DATA_NONE | IrqSet.ACTION_TRIGGER, MSIX, 0, 1)
    assert raw.ask(Command.DEVICE_SET_IRQS, request)[0] == 0


@pytest.fixture
def event():
    fd = os.eventfd(0, os.EFD_NONBLOCK)
    yield fd
    os.set_blocking(fd, False)
    with contextlib.suppress(BlockingIOError):
        os.eventfd_read(fd)  # a writer that is stuck comes free, so that a failure is one, not a hang
    os.close(fd)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_full_eventfd_that_is_made_to_block(raw, event, when):
    os.eventfd_write(event, FULL)
    if when == "before":
        os.set_blocking(event, True)
    arm(raw, event)
    os.set_blocking(event, True)  # the flag is the open file's: the server's copy has it too
    for _ in range(200):
        trigger(raw)
    os.set_blocking(event, False)
    assert os.eventfd_read(event) > FULL - 1
    trigger(raw)
    assert os.eventfd_read(event) == 1, "and it counts again"


def test_an_eventfd_whose_mode_keeps_changing(raw, event):
    arm(raw, event)
    over = threading.Event()

    def change() -> None:
        while not over.is_set():
            os.set_blocking(event, False)
            try:
                os.eventfd_write(event, FULL)
            except BlockingIOError:
                os.eventfd_read(event)
            os.set_blocking(event, True)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(3000):
            trigger(raw)
    finally:
        over.set()
        os.set_blocking(event, False)
        thread.join()


def test_a_forked_servers_child_signals_for_itself():
    """The means by which the kernel signals belongs to one process: a child makes its own."""
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "1 1\n"), done.stderr


CHILD = """
import os
from vfio_ims.native.events import notify
mine, childs = os.eventfd(0), os.eventfd(0)
notify(mine)
child = os.fork()
if not child:
    notify(childs)
    os._exit(0)
os.waitpid(child, 0)
print(os.eventfd_read(mine), os.eventfd_read(childs))
"""


def test_the_slot_file_cannot_be_cut(tmp_path):
    served = ServedModel("minimal,map_slots", tmp_path)
    try:
        with SocketLink(served.path) as link:
            (bar,) = [n for n in range(6) if link.region_info(n).areas]
            file = link.mapping_fd(bar)
            for size in (0, 1 << 30):
                with pytest.raises(PermissionError):
                    os.ftruncate(file, size)
            with pytest.raises(PermissionError):
                fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
            area = link.region_info(bar).areas[0]
            assert len(link.read(bar, area.offset, 16)) == 16
        assert served.alive
    finally:
        served.close()


def test_a_models_file_that_cannot_be_sealed_is_not_handed_out(kit, path, caplog):
    device = kit.device()
    os.close(device.fd)
    device.fd = os.memfd_create("no seals", os.MFD_CLOEXEC)
    os.ftruncate(device.fd, 0x4000)
    with Server(device, path), SocketLink(path) as link:
        assert link.region_info(0).areas == ()
        assert link.mapping_fd(0) is None
        assert link.read(0, device.SHARED, 4) == bytes(4)
    assert "cannot be sealed" in caplog.text
    device.close()


def share(raw, file: int, size: int) -> None:
    assert raw.ask(Command.DMA_MAP, DMA_MAP.pack(DMA_MAP.size, 3, 0, 0x10000, size), fds=(file,))[0] == 0


def test_memory_that_is_cut_faults_and_nothing_else(raw, device, server):
    file = os.memfd_create("guest", os.MFD_CLOEXEC)
    os.ftruncate(file, 1 << 20)
    share(raw, file, 1 << 20)
    over = threading.Event()

    def cut() -> None:
        while not over.is_set():
            os.ftruncate(file, 0)
            os.ftruncate(file, 1 << 20)

    thread = threading.Thread(target=cut)
    thread.start()
    faults = []
    try:
        for _ in range(300):
            for touch in (
                lambda: device.bus.read(0x10000, 1 << 20),
                lambda: device.bus.write(0x10000, bytes(1 << 20)),
                lambda: device.bus.write(0x10000 + (1 << 19), bytes(8)),
            ):
                try:
                    touch()
                except BusFault as fault:
                    faults.append(fault.why)
    finally:
        over.set()
        thread.join()
        os.close(file)
    assert set(faults) == {"the client's file was cut, or its file system has no room"}
    assert raw.ask(Command.REGION_READ, REGION_ACCESS.pack(0, RegionIndex.CONFIG, 4))[0] == 0


FULL_FILE_SYSTEM = """
import os, sys
sys.path.insert(0, sys.argv[2])
from vfio_ims.errors import BusFault
from vfio_ims.vfio_user.client_bus import ServerBus
from vfio_ims.vfio_user.dma import ClientMemory
file = os.open(sys.argv[1] + "/sparse", os.O_RDWR | os.O_CREAT)
os.ftruncate(file, 1 << 20)
memory, bus = ClientMemory(), ServerBus()
memory.map(0, 1 << 20, 3, 0, file)
bus.connect(memory, None, None)
for at in (0, 1 << 19):
    try:
        bus.write(at, bytes(1 << 19))
        print("written")
    except BusFault as fault:
        print(fault.why)
"""


def test_a_sparse_file_on_a_full_file_system_faults(tmp_path):
    script = f'mount -t tmpfs -o size=600k none "{tmp_path}" && exec "$@"'
    inside = ["unshare", "-rm", "sh", "-c", script, "sh"]
    if subprocess.run([*inside, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs a mount namespace of its own: run as root, or sysctl kernel.unprivileged_userns_clone=1")
    root = Path(__file__).parents[2]
    command = [*inside, sys.executable, "-c", FULL_FILE_SYSTEM, tmp_path, root]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, (done.returncode, done.stderr)
    assert done.stdout.splitlines() == ["written", "the client's file was cut, or its file system has no room"]

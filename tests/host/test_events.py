# SPDX-License-Identifier: Apache-2.0
"""What happens to devices is reported once, in order, and nothing is lost, however many events come or do not come."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import threading
from pathlib import Path

import pytest

from tests.host.box import DSA, IAA, Box
from tests.host.fake_kernel import FakeKernel
from vfio_ims.errors import ClosedError
from vfio_ims.host import event_sources
from vfio_ims.host.event_sources import PollingSource, UdevSource, best_source
from vfio_ims.host.events import DeviceEvents
from vfio_ims.pci import PciAddress


class ReportingSource:
    """A source that says what a test has it say: it is readable while there is news."""

    interval = None

    def __init__(self) -> None:
        self.receiver, self.sender = socket.socketpair()
        self.addresses: set[PciAddress] | None = set()

    def report(self, *addresses: str, lost: bool = False) -> None:
        self.addresses = None if lost else {PciAddress.parse(address) for address in addresses}
        self.sender.send(b"x")

    def fileno(self) -> int:
        return self.receiver.fileno()

    def news(self) -> set[PciAddress] | None:
        self.receiver.setblocking(False)
        try:
            self.receiver.recv(100)
        except BlockingIOError:
            return set()
        return self.addresses

    def close(self) -> None:
        self.receiver.close()
        self.sender.close()


def texts(events: DeviceEvents) -> list[str]:
    found = []
    while (event := events.poll(0)) is not None:
        found.append(str(event))
    return found


def unplug(box: Box, address: str) -> None:
    (box.root / "sys/bus/pci/devices" / address).unlink()
    shutil.rmtree(box.root / "sys/devices/pci0000:00" / address)


def test_the_life_of_a_device(box: Box) -> None:
    source = ReportingSource()
    box.nodes = {}
    machine = box.machine
    with DeviceEvents(machine, source=source) as events:
        assert texts(events) == []
        box.dsa(driver="idxd")
        source.report(DSA)
        assert texts(events) == [f"{DSA} appeared 8086:11fb", f"{DSA} bound 8086:11fb to idxd"]
        source.report(DSA)
        assert texts(events) == []  # nothing new
        kernel = FakeKernel(machine)
        kernel.tree.driver("vfio-pci")
        kernel.put(f"bus/pci/devices/{DSA}/driver_override", "vfio-pci")
        kernel.put("bus/pci/drivers/idxd/unbind", DSA)
        kernel.put("bus/pci/drivers/vfio-pci/bind", DSA)
        source.report(DSA)
        assert texts(events) == [f"{DSA} unbound 8086:11fb from idxd", f"{DSA} bound 8086:11fb to vfio-pci"]
        machine.nodes.update(Box.made_node("vfio/23", accessible=False))  # type: ignore[union-attr]
        assert texts(events) == []  # there, but not permitted yet
        machine.nodes.update(Box.made_node("vfio/23"))  # type: ignore[union-attr]
        assert texts(events) == [f"{DSA} ready 8086:11fb /dev/vfio/23"]  # although no event came
        unplug(box, DSA)
        source.report(DSA)
        assert texts(events) == [f"{DSA} unbound 8086:11fb from vfio-pci", f"{DSA} removed 8086:11fb"]


def test_gone_and_back_between_two_looks_is_reported_as_that(box: Box) -> None:
    box.dsa(driver=None)
    source = ReportingSource()
    with DeviceEvents(box.machine, source=source) as events:
        kept = box.root / "sys/devices/pci0000:00" / DSA
        kept.rename(kept.with_name("old"))  # its inode is not reused
        box.dsa(driver=None)
        source.report(DSA)
        assert texts(events) == [f"{DSA} removed 8086:11fb", f"{DSA} appeared 8086:11fb"]


def test_lost_events_lose_nothing(box: Box) -> None:
    box.dsa()
    source = ReportingSource()
    with DeviceEvents(box.machine, source=source) as events:
        unplug(box, DSA)
        for number in range(200):
            box.tree.function(f"0000:90:{number >> 3:02x}.{number & 7}", "8086:11fb")
        source.report(lost=True)  # ENOBUFS: it is not known what happened
        found = texts(events)
    assert found[:2] == [f"{DSA} unbound 8086:11fb from idxd", f"{DSA} removed 8086:11fb"]
    assert len(found) == 202


def test_what_is_there_already_is_reported_when_asked_for(box: Box) -> None:
    box.healthy()
    with DeviceEvents(box.machine, existing=True, source=ReportingSource()) as events:
        assert [text.split()[1] for text in texts(events)] == ["appeared", "bound", "ready"]


def test_without_events_it_looks_by_itself(box: Box) -> None:
    with DeviceEvents(box.machine, source=PollingSource(0.05)) as events:
        threading.Timer(0.1, box.dsa).start()
        event = events.poll(5)
        assert event is not None
        assert event.kind == "appeared"
        assert events.poll(5) is not None
        assert events.poll(0.1) is None


@pytest.mark.parametrize("polling", [False, True])
def test_tasks(box: Box, polling: bool) -> None:
    async def run() -> list[str]:
        source = PollingSource(0.05) if polling else ReportingSource()
        found: list[str] = []
        with DeviceEvents(box.machine, source=source) as events:

            async def change() -> None:
                await asyncio.sleep(0.05)
                box.dsa(IAA, driver=None)
                if isinstance(source, ReportingSource):
                    source.report(IAA)

            task = asyncio.create_task(change())
            async with asyncio.timeout(5):
                async for event in events:
                    found.append(str(event))
                    break
            await task
        return found

    assert asyncio.run(run()) == [f"{IAA} appeared 8086:11fb"]


def test_after_close(box: Box) -> None:
    events = DeviceEvents(box.machine, source=ReportingSource())
    events.close()
    events.close()
    with pytest.raises(ClosedError):
        events.poll(0)


class Overflowing:
    """pyudev's monitor over a socket whose peer is gone: POLLERR, as when the kernel's buffer overflows."""

    def __init__(self) -> None:
        self.receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.receiver.bind(("127.0.0.1", 0))
        unbound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        unbound.bind(("127.0.0.1", 0))
        where = unbound.getsockname()
        unbound.close()
        self.receiver.connect(where)
        self.receiver.send(b"x")  # refused: an error waits on the socket

    def fileno(self) -> int:
        return self.receiver.fileno()

    def poll(self, timeout: float) -> None:
        return None

    def filter_by(self, subsystem: str) -> None: ...
    def set_receive_buffer_size(self, size: int) -> None:
        raise PermissionError

    def start(self) -> None: ...


def test_an_error_on_udevs_socket_means_look_again(monkeypatch: pytest.MonkeyPatch) -> None:
    import pyudev

    monitor = Overflowing()
    monkeypatch.setattr(pyudev.Monitor, "from_netlink", lambda *_, **__: monitor)
    monkeypatch.setattr(event_sources, "context", lambda: object())
    source = UdevSource("kernel")
    assert source.news() is None
    assert source.news() == set()  # and it goes on
    source.close()
    monitor.receiver.close()


def test_a_groups_node_is_about_its_members(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.dsa(group=23)
    source = UdevSource.__new__(UdevSource)
    source._root = box.tree.root
    assert source._about("/sys/devices/virtual/vfio/23", "vfio") == {PciAddress.parse(DSA)}
    assert source._about(f"/sys/devices/pci0000:6a/{DSA}/vfio-dev/vfio0", "vfio-dev") == {PciAddress.parse(DSA)}
    assert source._about("/sys/devices/virtual/vfio/99", "vfio") == set()


def test_this_machine_can_be_listened_to() -> None:
    from vfio_ims.host.machine import Machine

    before = len(os.listdir("/proc/self/fd"))
    with DeviceEvents(existing=True) as events:
        assert len(texts(events)) >= len(Machine().functions())
    assert isinstance(best_source(Machine(Path("/nowhere"))), PollingSource)
    assert len(os.listdir("/proc/self/fd")) <= before + 1

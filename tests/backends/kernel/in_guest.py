# SPDX-License-Identifier: Apache-2.0
"""Run inside a guest of the VM lab by test_kernel_vm.py: the backends on a real kernel, on functions of QEMU's own.

The functions: an nvme, an edu, a pci-testdev; in a group of their own, at 1a.0 and 1a.1, an edu and a virtio device.
"""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vfio_ims.backends.kernel.opening import open_kernel
from vfio_ims.errors import (
    ClosedError,
    DeviceBusy,
    DeviceError,
    SetupError,
    UnsupportedError,
    UsageError,
    VfioImsError,
)
from vfio_ims.native.events import EventFd, Poller
from vfio_ims.native.memory import SharedMemory
from vfio_ims.pci import Command, ConfigSource, ConfigSpace, decode
from vfio_ims.ports.values import Evidence, IrqIndex, IrqSet, RegionIndex

PAGE = 4096
TRIGGER = IrqSet.DATA_EVENTFD | IrqSet.ACTION_TRIGGER
ALL_OFF = IrqSet.DATA_NONE | IrqSet.ACTION_TRIGGER
INTERFACES = ("type1", "iommufd")


def find(kind: str, bus: str = "0000:00") -> str:
    """The function with these ids."""
    for folder in sorted(Path("/sys/bus/pci/devices").iterdir()):
        ids = f"{(folder / 'vendor').read_text().strip()[2:]}:{(folder / 'device').read_text().strip()[2:]}"
        if ids == kind and folder.name.startswith(bus):
            return folder.name
    raise AssertionError(f"no {kind} on bus {bus} in this guest")


NVME, EDU, TESTDEV = "1b36:0010", "1234:11e8", "1b36:0005"


@pytest.fixture(params=INTERFACES)
def interface(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def nvme(interface: str) -> Iterator[Any]:
    with open_kernel(find(NVME), iommu=interface) as port:
        set_command(port, on=Command.MEMORY)
        yield port


def set_command(port: Any, on: int = 0, off: int = 0) -> None:
    now = int.from_bytes(port.read_region(RegionIndex.CONFIG, 4, 2), "little")
    port.write_region(RegionIndex.CONFIG, 4, (now & ~off | on).to_bytes(2, "little"))


def table_of(port: Any) -> tuple[int, int, int]:
    """BAR, offset and vectors of the MSI-X table."""
    data = port.read_region(RegionIndex.CONFIG, 0, port.region_info(RegionIndex.CONFIG).size)
    msix = decode(ConfigSpace(data, ConfigSource.VFIO, port.name)).msix
    assert msix is not None
    return (*msix.table, msix.vectors)


def test_the_mount_says_what_it_is(nvme: Any, interface: str) -> None:
    assert nvme.mount == {"type1": "group", "iommufd": "cdev"}[interface]
    assert nvme.device_info().regions == 9
    assert nvme.region_info(RegionIndex.VGA).size == 0, "the kernel answers EINVAL: it has none"
    assert nvme.region_info(RegionIndex.BAR0).msix_mappable
    assert nvme.irq_info(IrqIndex.MSIX).count == 65


@pytest.mark.parametrize("interface", INTERFACES)
def test_a_function_without_pci_express_has_no_err(interface: str) -> None:
    with open_kernel(find(TESTDEV), iommu=interface) as port:
        assert port.irq_info(IrqIndex.REQ).count == 1
        assert port.irq_info(IrqIndex.ERR).count in (0, 1)
        with pytest.raises(UnsupportedError):
            port.reset()


def test_a_donors_message_is_read_through_the_mapping(nvme: Any) -> None:
    bar, offset, vectors = table_of(nvme)
    window = nvme.window(bar, guard=(offset, offset + 16 * vectors))
    assert window.mapped(offset, 16 * vectors)
    with pytest.raises(UsageError, match="MSI-X table"):
        window.write32(offset + 12, 0)
    before: Evidence = nvme.interrupt_remapping()
    with EventFd() as first, EventFd() as second, Poller() as poller:
        poller.add(first.fileno(), key=0)
        poller.add(second.fileno(), key=1)
        nvme.set_irqs(IrqIndex.MSIX, TRIGGER, 0, 1, [first.fileno()])
        messages = [window.read_block(offset, 3)]
        nvme.set_irqs(IrqIndex.MSIX, TRIGGER, 1, 1, [second.fileno()])
        messages.append(window.read_block(offset + 16, 3))
        assert messages[0] == window.read_block(offset, 3), "growing by one leaves the others"
        assert messages[0] != messages[1]
        assert all(message[:4] != bytes(4) for message in messages)
        assert nvme.read_region(bar, offset, 16) == b"\xff" * 16, "only the mapping shows it"
        nvme.set_irqs(IrqIndex.MSIX, IrqSet.DATA_BOOL | IrqSet.ACTION_TRIGGER, 0, 2, [1, 1])
        assert sorted(poller.wait(5)) == [(0, 1), (1, 1)]
        nvme.reset()
        set_command(nvme, on=Command.MEMORY)
        assert [window.read_block(offset + 16 * i, 3) for i in range(2)] == messages, "a reset keeps donors"
        after: Evidence = nvme.interrupt_remapping()
        nvme.set_irqs(IrqIndex.MSIX, TRIGGER, 1, 1, [-1])
        assert window.read_block(offset + 16, 3)[:4] == bytes(4), "a detached donor's message is gone"
        nvme.set_irqs(IrqIndex.MSIX, ALL_OFF, 0, 0)
    assert after.answer is (os.environ["VFIO_IMS_VM_PLATFORM"] != "intel-noremap")
    assert nvme.name in after.text
    assert before.answer in (after.answer, None)


def test_what_set_irqs_refuses(nvme: Any) -> None:
    with pytest.raises(UnsupportedError, match="only INTx can be masked"):
        nvme.set_irqs(IrqIndex.MSIX, IrqSet.DATA_NONE | IrqSet.ACTION_MASK, 0, 1)
    with pytest.raises(UsageError):
        nvme.set_irqs(IrqIndex.MSIX, TRIGGER, 0, 1, [999])
    with EventFd() as event:
        with pytest.raises(UsageError):
            nvme.set_irqs(IrqIndex.MSIX, TRIGGER, 60, 10, [event.fileno()] * 10)
        nvme.set_irqs(IrqIndex.MSIX, TRIGGER, 0, 1, [event.fileno()])
        with pytest.raises(UsageError, match="one of INTx, MSI and MSI-X"):
            nvme.set_irqs(IrqIndex.INTX, TRIGGER, 0, 1, [event.fileno()])


def test_memory_decoding_off_is_an_error_and_on_works_again(nvme: Any) -> None:
    window = nvme.window(0)
    good = window.read32(0)
    set_command(nvme, off=Command.MEMORY)
    for access in (
        lambda: window.read32(0),
        lambda: window.read64(0),
        lambda: window.write32(0x14, 0),
        lambda: window.read_block(0, 4),
        lambda: nvme.read_region(0, 0, 4),
    ):
        with pytest.raises(DeviceError):
            access()
    set_command(nvme, on=Command.MEMORY)
    assert window.read32(0) == good


def test_mapping_follows_the_ports_rules(nvme: Any) -> None:
    space = nvme.space
    assert space.page_sizes() & -space.page_sizes() == PAGE
    ranges = space.ranges()
    assert not any(one.holds(0xFEE0_0000, PAGE) for one in ranges)
    assert ranges[-1].last >= (1 << 39) - 1
    with SharedMemory(1 << 20) as memory:
        space.map(0x10_0000, memory.address, memory.size)
        with pytest.raises(DeviceBusy):
            space.map(0x10_1000, memory.address, PAGE)
        with pytest.raises(UsageError):
            space.map(0xFEE0_0000, memory.address, PAGE)
        with pytest.raises(UsageError):
            space.map(0x30_0001, memory.address, PAGE)
        with pytest.raises(UsageError):
            space.map(0x50_0000, 0x1000, PAGE)
        with pytest.raises(UsageError, match="must not cut"):
            space.unmap(0x10_0000, PAGE)
        assert space.unmap(0x100_0000, PAGE) == 0
        assert space.unmap(0x10_0000, memory.size) == memory.size


def test_it_opens_once(nvme: Any, interface: str) -> None:
    for other in INTERFACES:
        with pytest.raises(DeviceBusy, match=rf"{os.getpid()}"):  # the lock names its holder
            open_kernel(nvme.name, iommu=other)


def test_two_functions_share_a_space(interface: str) -> None:
    first = open_kernel(find(NVME), iommu=interface)
    space = first.space
    second = open_kernel(find(EDU), space=space)
    assert second.mount == first.mount
    with SharedMemory(PAGE) as memory:
        space.map(0x10_0000, memory.address, PAGE)
        first.close()
        assert space.unmap(0x10_0000, PAGE) == PAGE
        second.close()
    with pytest.raises(ClosedError):
        space.ranges()


def test_nothing_is_left_open(interface: str) -> None:
    def state() -> tuple[list[str], list[str]]:
        fds = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
        links = [os.readlink(fd) for fd in fds if os.path.exists(fd)]
        maps = [line for line in Path("/proc/self/maps").read_text().splitlines() if "/vfio_ims/" not in line]
        return [one for one in links if "vfio" in one or "iommu" in one], [one for one in maps if "vfio" in one]

    for _ in range(10):
        with open_kernel(find(NVME), iommu=interface) as port:
            port.window(0)
            with EventFd() as event:
                port.set_irqs(IrqIndex.MSIX, TRIGGER, 0, 1, [event.fileno()])
    assert state() == ([], [])


def test_a_forked_child_does_not_hold_the_device(interface: str) -> None:
    port = open_kernel(find(NVME), iommu=interface)
    set_command(port, on=Command.MEMORY)
    window = port.window(0)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            window.read32(0)
        except ClosedError:
            os.write(writing, b"c")
        time.sleep(20)
        os._exit(0)
    try:
        assert os.read(reading, 1) == b"c"
        assert window.read32(0) == window.read32(0), "the parent's works on"
        port.close()
        open_kernel(find(NVME), iommu=interface).close()
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.close(reading)
        os.close(writing)


def test_pasids_are_not_believed(interface: str) -> None:
    with open_kernel(find(NVME), iommu=interface) as port, pytest.raises(UnsupportedError):
        port.attach_pasid(5, port.space)


def test_a_group_that_a_kernel_driver_shares_is_not_viable(interface: str) -> None:
    slot = "0000:00:1a"
    holder = find("1af4:1005", slot)
    with pytest.raises(SetupError, match=f"{holder} .driver virtio-pci") as caught:
        open_kernel(find(EDU, slot), iommu=interface)
    assert f"vfio-ims bind {holder}" in caught.value.hint


NOBODY = 65534


def as_nobody(bdf: str, interface: str, locked: int) -> list[str]:
    """What an ordinary user meets, as far as a mapping of 1 MiB. Forked, since it may not read this Python's files."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        said = []
        try:
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (locked, locked))
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            with open_kernel(bdf, iommu=interface) as port, SharedMemory(1 << 20) as memory:
                said.append("open")
                port.space.map(1 << 20, memory.address, memory.size)
                said.append("mapped")
        except VfioImsError as error:
            said += [type(error).__name__, error.why, error.hint]
        finally:
            os.write(writing, json.dumps(said).encode())
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as answer:
        said = json.loads(answer.read())
    os.waitpid(child, 0)
    return said


def test_an_ordinary_user_sees_what_is_missing(interface: str) -> None:
    bdf = find(NVME)
    folder = Path("/sys/bus/pci/devices", bdf)
    group = os.path.basename(os.readlink(folder / "iommu_group"))
    own = next((folder / "vfio-dev").iterdir()).name
    nodes = (
        ["/dev/vfio/vfio", f"/dev/vfio/{group}"] if interface == "type1" else ["/dev/iommu", f"/dev/vfio/devices/{own}"]
    )
    said = as_nobody(bdf, interface, 1 << 16)
    assert said[0] == "AccessDenied"
    assert "root:root with mode 06" in said[1]
    for node in nodes:
        os.chown(node, 0, NOBODY)
        os.chmod(node, 0o660)
    try:
        said = as_nobody(bdf, interface, 1 << 16)
        assert said[:2] == ["open", "SetupError"]
        assert "RLIMIT_MEMLOCK) is 64 KiB" in said[2]
        assert "ulimit -l 1024" in said[3]
        assert as_nobody(bdf, interface, 1 << 24) == ["open", "mapped"]
    finally:
        for node in nodes:
            os.chown(node, 0, 0)
            os.chmod(node, 0o600)

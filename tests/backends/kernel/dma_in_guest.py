# SPDX-License-Identifier: Apache-2.0
"""Run inside a guest by test_dma_vm.py: what a device reaches, with two of QEMU's edu behind a real IOMMU."""

from __future__ import annotations

import json
import mmap
import os
import resource
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import vfio_ims
from tests.backends.kernel.edu import carry, prepare
from vfio_ims.backends.kernel.opening import open_kernel
from vfio_ims.device import Device
from vfio_ims.errors import DeviceError, UnsupportedError, UsageError
from vfio_ims.native import vfio

PAGE, HUGE = 4096, 2 << 20
NOBODY = 65534
TEXT = bytes(range(256))
FIRST, SECOND = os.environ["VFIO_IMS_VM_FUNCTIONS"].split()[:2]
POOL = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")


@pytest.fixture(params=["type1", "iommufd"])
def interface(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def edu(interface: str) -> Iterator[Device]:
    with vfio_ims.open(f"{FIRST},iommu={interface}") as device:
        yield prepare(device)


def reaches(device: Device, target: Any, at: int = 0) -> bool:
    """Whether what it carries from memory of ours arrives at ``target``, a buffer."""
    with device.dma.allocate(256) as source:
        source.view[:] = TEXT
        carry(device, source.iova, target.iova + at, 256)
    return bytes(target.view[at : at + 256]) == TEXT


def test_hugepages(edu: Device) -> None:
    POOL.write_text("4")
    with edu.dma.allocate(HUGE + PAGE, hugepages=HUGE) as buffer:
        assert buffer.mapped == 2 * HUGE
        assert buffer.iova % HUGE == 0
        assert reaches(edu, buffer, HUGE - 128)  # across the border of two
    with mmap.mmap(-1, HUGE, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | 0x40000 | 21 << 26) as memory:
        with edu.dma.map(memory, align=HUGE) as buffer:
            assert reaches(edu, buffer, HUGE - 256)
        assert memory[-256:] == TEXT


def test_memory_of_the_caller_and_files(edu: Device) -> None:
    memory = mmap.mmap(-1, 2 * PAGE)
    with edu.dma.map(memory) as buffer:
        assert reaches(edu, buffer, PAGE - 128)
    assert memory[PAGE - 128 : PAGE + 128] == TEXT
    fd = os.memfd_create("theirs")
    os.ftruncate(fd, 3 * PAGE)
    with edu.dma.map_file(fd, offset=PAGE) as buffer:
        assert reaches(edu, buffer, PAGE)
    assert os.pread(fd, 256, 2 * PAGE) == TEXT
    os.close(fd)
    read_only = os.open(__file__, os.O_RDONLY)  # on 9p: whether its pages may be pinned is up to the kernel
    with pytest.raises(UsageError):
        edu.dma.map_file(read_only, size=PAGE)
    os.close(read_only)


def test_all_is_taken_back_at_once(edu: Device) -> None:
    memory = mmap.mmap(-1, PAGE)
    space = edu.dma
    buffers = [space.allocate(PAGE), space.map(memory), space.allocate(PAGE, iova=1 << 32)]
    assert reaches(edu, buffers[1])
    assert space.unmap_all() == 3 * PAGE
    memory[:] = bytes(PAGE)
    with space.allocate(256) as source:
        source.view[:] = TEXT
        carry(edu, source.iova, buffers[1].iova, 256)
    assert memory[:] == bytes(PAGE), "it was written after all was taken back"
    assert space.unmap_all() == 0


def test_a_bar_of_another_device(edu: Device, interface: str) -> None:
    with vfio_ims.open(f"{SECOND},iommu={interface}") as other:
        bar = other.bar(0)
        if interface == "iommufd":
            # The lab's kernel has no PCI_P2PDMA, and so no dma-bufs of BARs: what is refused is said.
            with pytest.raises(UnsupportedError, match="VFIO_DEVICE_FEATURE_DMA_BUF") as refused:
                edu.dma.map_bar(bar, size=PAGE)
            assert "iommu=type1" in refused.value.hint
            return
        other.config.memory = False
        with pytest.raises(DeviceError, match="memory decoding"):
            edu.dma.map_bar(bar, size=PAGE)
        other.config.memory = True
        with edu.dma.map_bar(bar, size=PAGE) as peer, edu.dma.allocate(4) as source:
            source.view[:] = (0x1234_5678).to_bytes(4, "little")
            carry(edu, source.iova, peer.iova + 4, 4)  # its register that answers with the complement
            assert bar.read32(4) == 0x1234_5678 ^ 0xFFFF_FFFF
            carry(edu, peer.iova + 4, source.iova, 4)
            assert bytes(source.view) == (0x1234_5678 ^ 0xFFFF_FFFF).to_bytes(4, "little")
        kept = edu.dma.map_bar(bar, size=PAGE)
        other.close()
        assert kept.closed, "it goes with its device"


def test_iommufd_in_the_containers_place(tmp_path: Path) -> None:
    """What /dev/vfio/vfio is with CONFIG_IOMMUFD_VFIO_CONTAINER: /dev/iommu takes the same requests."""
    folder = tmp_path / "dev/vfio"
    folder.mkdir(parents=True)
    (folder / "vfio").symlink_to("/dev/iommu")
    group = os.path.basename(os.readlink(f"/sys/bus/pci/devices/{FIRST}/iommu_group"))
    (folder / group).symlink_to(f"/dev/vfio/{group}")
    with Device(open_kernel(FIRST, iommu="type1", dev=tmp_path / "dev")) as device:
        prepare(device)
        assert device.mount == "group"
        assert device.port.space.name == f"iommufd's container of {FIRST}"
        with device.dma.allocate(PAGE) as buffer:
            assert reaches(device, buffer)
        with pytest.raises(UnsupportedError, match="iommufd stands in for the container"):
            device.dma.map_bar(device.bar(0), size=PAGE)
        assert device.dma.unmap_all() == 0


def as_nobody(action: Callable[[], object]) -> Any:
    """What comes of it in a child that is no longer root, as JSON."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        said: object = None
        try:
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (64 << 20, 64 << 20))
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            said = action()
        except BaseException:  # noqa: BLE001
            said = traceback.format_exc()
        finally:
            os.write(writing, json.dumps(said).encode())
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as answer:
        said = json.loads(answer.read())
    os.waitpid(child, 0)
    return said


def use(**passed: int) -> Callable[[], object]:
    def action() -> object:
        try:
            os.close(os.open("/dev/iommu", os.O_RDWR))
            return "user nobody may open the nodes, so this proves nothing"
        except PermissionError:
            pass
        with vfio_ims.open_fd(**passed) as device:  # type: ignore[arg-type]
            prepare(device)
            with device.dma.allocate(PAGE) as buffer:
                return [device.name, device.mount, reaches(device, buffer)]

    return action


def test_root_opens_and_an_ordinary_user_uses_it(interface: str) -> None:
    folder = Path("/sys/bus/pci/devices", FIRST)
    group = os.path.basename(os.readlink(folder / "iommu_group"))
    own = next((folder / "vfio-dev").iterdir()).name
    if interface == "iommufd":
        given = {"device": f"/dev/vfio/devices/{own}", "iommufd": "/dev/iommu"}
    else:
        given = {"group": f"/dev/vfio/{group}", "container": "/dev/vfio/vfio"}
    mount = {"iommufd": "cdev", "type1": "group"}[interface]
    for ready in (False, True):
        fds = {name: os.open(path, os.O_RDWR | os.O_CLOEXEC) for name, path in given.items()}
        if ready and interface == "iommufd":
            vfio.bind_iommufd(fds["device"], fds["iommufd"])
        elif ready:
            vfio.group_set_container(fds["group"], fds["container"])
            vfio.set_iommu(fds["container"], 3)
            fds["device"] = vfio.group_device_fd(fds["group"], FIRST)
        assert as_nobody(use(**fds)) == [FIRST, mount, True]
        for fd in reversed(fds.values()):
            os.close(fd)
    with vfio_ims.open(f"{FIRST},iommu={interface}"):  # given back
        pass


def test_descriptors_of_another_function_are_refused() -> None:
    own = next(Path("/sys/bus/pci/devices", SECOND, "vfio-dev").iterdir()).name
    device = os.open(f"/dev/vfio/devices/{own}", os.O_RDWR)
    with pytest.raises(UsageError, match=f"the descriptors are of {SECOND}"):
        vfio_ims.open_fd(FIRST, device=device)
    os.close(device)

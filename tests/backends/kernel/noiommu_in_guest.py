# SPDX-License-Identifier: Apache-2.0
"""Run inside a guest without an IOMMU by test_dma_vm.py: an edu and a model with IMS, opened with ``iommu=none``."""

from __future__ import annotations

import json
import mmap
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import vfio_ims
from tests.backends.kernel.edu import carry, prepare
from vfio_ims.backends.kernel.opening import open_kernel
from vfio_ims.device import Device
from vfio_ims.errors import AccessDenied, DeviceBusy, NoIommuWarning, SetupError, UsageError

PAGE, HUGE = 4096, 2 << 20
TEXT = bytes(range(256))
EDU, SECOND, MODEL = os.environ["VFIO_IMS_VM_FUNCTIONS"].split()[:3]


@pytest.fixture(autouse=True, scope="module")
def hugepages() -> None:
    Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages").write_text("24")


@pytest.fixture
def only_group(tmp_path: Path) -> Path:
    """A /dev as kernels before 7.3 have it: without noiommu-vfioN."""
    folder = tmp_path / "dev/vfio"
    folder.mkdir(parents=True)
    for node in Path("/dev/vfio").iterdir():
        if node.name != "devices":
            (folder / node.name).symlink_to(node)
    return tmp_path / "dev"


@pytest.fixture(params=["group", "cdev"])
def edu(request: pytest.FixtureRequest, only_group: Path) -> Iterator[Device]:
    with pytest.warns(NoIommuWarning, match="read and write all memory of this machine"):
        port = open_kernel(EDU, iommu="none", dev=only_group if request.param == "group" else Path("/dev"))
    with Device(port) as device:
        assert device.mount == request.param
        yield prepare(device)


def test_it_is_never_the_default() -> None:
    for name in (EDU, f"{EDU},iommu=type1", f"{EDU},iommu=iommufd"):
        with pytest.raises(SetupError, match="never used unless it is named") as refused:
            vfio_ims.open(name)
        assert f"{EDU},iommu=none" in refused.value.hint


def test_it_warns_each_time() -> None:
    for _ in range(3):
        with pytest.warns(NoIommuWarning, match=f"{EDU} is opened without an IOMMU"):
            vfio_ims.open(f"{EDU},iommu=none").close()


def test_a_device_reaches_memory_by_its_physical_address(edu: Device) -> None:
    with edu.dma.allocate(256) as source, edu.dma.allocate(HUGE) as target:
        assert target.iova % HUGE == 0
        source.view[:] = TEXT
        carry(edu, source.iova, target.iova + HUGE - 256, 256)
        assert bytes(target.view[-256:]) == TEXT
        assert edu.dma.find(target.iova + 5) == (target, 5)
        assert edu.dma.iova_of(source.address) == source.iova
        pagemap = os.open("/proc/self/pagemap", os.O_RDONLY)
        entry = int.from_bytes(os.pread(pagemap, 8, target.address // PAGE * 8), "little")
        os.close(pagemap)
        assert (entry & ((1 << 55) - 1)) * PAGE == target.iova
        assert edu.dma.unmap_all() == source.mapped + target.mapped


def test_small_memory_is_pinned_where_the_kernel_can(edu: Device) -> None:
    with mmap.mmap(-1, PAGE) as memory:
        memory[:1] = b"x"
        if edu.mount == "group":
            with pytest.raises(UsageError, match="not made of hugepages"):
                edu.dma.map(memory)
            return
        with edu.dma.map(memory) as buffer, edu.dma.allocate(256) as source:
            assert (source.mapped, buffer.mapped) == (PAGE, PAGE)
            source.view[:] = TEXT
            carry(edu, source.iova, buffer.iova, 256)
            with pytest.raises(DeviceBusy, match="has a buffer already"):
                edu.dma.map(memory)
        assert memory[:256] == TEXT


def test_what_cannot_be_had_is_said(edu: Device) -> None:
    with pytest.raises(UsageError, match="physical address"):
        edu.dma.allocate(PAGE, iova=1 << 30)
    scattered = mmap.mmap(-1, 4 << 20)
    scattered[:] = bytes(4 << 20)
    with pytest.raises((SetupError, UsageError), match=r"contiguous|not made of hugepages"):
        edu.dma.map(scattered)
    with pytest.raises(UsageError, match="this process's memory only"):
        edu.dma.map_bar(edu.bar(0), size=PAGE)
    assert edu.dma.buffers == ()


def test_two_devices_share_memory() -> None:
    with pytest.warns(NoIommuWarning):
        first = vfio_ims.open(f"{EDU},iommu=none")
    with pytest.warns(NoIommuWarning):
        second = vfio_ims.open(f"{SECOND},iommu=none", share=first)
    with first, second, first.dma.allocate(256) as source, second.dma.allocate(256) as target:
        source.view[:] = TEXT
        carry(prepare(second), source.iova, target.iova, 256)
        assert bytes(target.view) == TEXT


@pytest.mark.parametrize("way", ["group", "cdev"])
def test_a_slot_fires(only_group: Path, way: str) -> None:
    from vfio_ims.families import family_for

    with pytest.warns(NoIommuWarning):
        port = open_kernel(MODEL, iommu="none", dev=only_group if way == "group" else Path("/dev"))
    device = Device(port)
    vendor, number = device.config.read(0, 2), device.config.read(2, 2)
    kind = family_for(vendor, number, device.name).load_driver(f"{vendor:04x}:{number:04x}")
    with kind.start_on(device) as driver, driver.ims.allocate() as irq, driver.ims.allocate_polled() as polled:
        driver.fire(irq.slot)
        assert irq.wait(60)
        driver.fire(polled.slot)
        deadline = time.monotonic() + 60
        while not polled.poll() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert time.monotonic() < deadline
        assert driver.verdict.usable


def test_without_the_privilege_it_is_refused() -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        said = ["nothing"]
        try:
            for node in ("vfio", *(one.name for one in Path("/dev/vfio").iterdir() if one.name.startswith("noiommu"))):
                os.chmod(f"/dev/vfio/{node}", 0o666)
            for one in Path("/dev/vfio/devices").iterdir():
                os.chmod(one, 0o666)
            os.chmod("/dev/iommu", 0o666)
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            with pytest.warns(NoIommuWarning):
                vfio_ims.open(f"{EDU},iommu=none")
        except AccessDenied as error:
            said = [error.why, error.hint]
        except BaseException as error:  # noqa: BLE001
            said = [repr(error)]
        finally:
            os.write(writing, json.dumps(said).encode())
            os._exit(0)
    os.close(writing)
    with open(reading, "rb") as answer:
        said = json.loads(answer.read())
    os.waitpid(child, 0)
    assert "CAP_SYS_RAWIO" in said[0]

# SPDX-License-Identifier: Apache-2.0
"""Both of the kernel's interfaces, over a kernel of our own: one suite for group and node."""

from __future__ import annotations

import errno
import os
import struct
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vfio_ims.backends.kernel import device as kernel_device
from vfio_ims.backends.kernel.opening import open_kernel
from vfio_ims.errors import (
    AccessDenied,
    ClosedError,
    DeviceBusy,
    DeviceError,
    SetupError,
    UnsupportedError,
    UsageError,
    VfioImsError,
)
from vfio_ims.messages import Format, Message
from vfio_ims.native.memory import SharedMemory
from vfio_ims.ports.device import DevicePort
from vfio_ims.ports.values import Area, IrqSet

BDF = "0000:6a:01.0"
OTHER = "0000:6a:02.0"
SHIFT = 28
PAGE = 4096

Open = Callable[..., Any]


def descriptors(where: Path) -> list[str]:
    """What is open below a folder."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            continue
    return [path for path in found if path.startswith(str(where))]


@pytest.fixture(params=["type1", "iommufd"])
def interface(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def opened(kernel: Any, interface: str) -> Open:
    def open_one(bdf: str = BDF, **options: Any) -> Any:
        return open_kernel(bdf, iommu=interface, sysfs=kernel.sys, dev=kernel.dev, **options)

    return open_one


def test_a_port_is_a_port(kernel: Any, opened: Open, interface: str) -> None:
    kernel.add()
    with opened() as port:
        assert isinstance(port, DevicePort)
        assert port.name == BDF
        assert port.mount == {"type1": "group", "iommufd": "cdev"}[interface]
        assert port.settle > 0
        info = port.device_info()
        assert (info.regions, info.irqs) == (9, 5)
        assert port.irq_info(2).count == 9
        assert port.region_info(0).areas == (Area(0, 0x10000),)
        assert port.region_info(0).msix_mappable
        assert port.region_info(4).areas == ()
        assert port.region_info(5).size == 0
        for bad in (lambda: port.region_info(9), lambda: port.irq_info(-1), lambda: port.window(5)):
            with pytest.raises(UsageError):
                bad()


def test_auto_takes_the_node_where_there_is_one(kernel: Any) -> None:
    kernel.add()
    kernel.add(OTHER, group=13, cdev=None)
    with open_kernel(BDF, sysfs=kernel.sys, dev=kernel.dev) as port:
        assert port.mount == "cdev"
    with open_kernel(OTHER, sysfs=kernel.sys, dev=kernel.dev) as port:
        assert port.mount == "group"
    (kernel.dev / "iommu").unlink()
    with open_kernel(BDF, sysfs=kernel.sys, dev=kernel.dev) as port:
        assert port.mount == "group"
    with pytest.raises(UsageError, match="iommu must be one of"):
        open_kernel(BDF, iommu="type2", sysfs=kernel.sys, dev=kernel.dev)


def test_closing_gives_everything_back(kernel: Any, opened: Open, interface: str) -> None:
    function = kernel.add()
    port = opened()
    window = port.window(0)
    assert descriptors(kernel.dev)
    space = port.space
    port.close()
    port.close()
    assert descriptors(kernel.dev) == []
    assert not kernel.container_of.get(12)
    for used in (
        lambda: window.read32(0),
        port.device_info,
        lambda: port.read_region(0, 0, 4),
        lambda: port.set_irqs(2, 0x21, 0, 0),
        port.reset,
        lambda: space.map(0x10000, 0, PAGE),
        lambda: space.ranges(),
    ):
        with pytest.raises(ClosedError):
            used()
    if interface == "iommufd":
        assert kernel.maps == {}, "the IOAS is destroyed"
    del function


def test_config_space_and_bars_without_mapping_are_read_through_the_kernel(kernel: Any, opened: Open) -> None:
    function = kernel.add()
    with opened() as port:
        port.write_region(7, 4, b"\x06\x00")
        assert port.read_region(7, 4, 2) == b"\x06\x00"
        window = port.window(4)
        assert not window.mapped(0, 4)
        window.write32(8, 0x1234_5678)
        window.write64(16, 1 << 63)
        assert window.read8(8) == 0x78
        assert window.poll(8, 2, 0xFF, 0x78, 1) == 0x5678
        assert window.poll(8, 2, 0xFF, 0, 0.01) == 0x5678
        window.store64(64, bytes(range(64)), pieces=True)
        assert window.read_block(64, 8, 8) == bytes(range(64))
        with pytest.raises(UnsupportedError):
            window.store64(64, bytes(64))
        for bad in (
            lambda: port.read_region(7, 0xFFF, 2),
            lambda: port.read_region(7, -1, 2),
            lambda: port.write_region(4, 0x100, b"\0"),
            lambda: window.read32(0x100),
        ):
            with pytest.raises(UsageError):
                bad()
        written = function.node.open("rb")
        written.seek((4 << SHIFT) + 8)
        assert written.read(4) == b"\x78\x56\x34\x12"
        written.close()


def test_the_msix_page_is_mapped_read_only_and_its_table_refused(kernel: Any, opened: Open) -> None:
    kernel.add()
    with opened() as port:
        window = port.window(0, guard=(0x2000, 0x2000 + 9 * 16))
        assert window.mapped(0, 0x10000), "a donor's message is read through the mapping"
        window.write32(0x1FFC, 1)
        window.write32(0x3000, 2)
        window.write32(0x2100, 3)
        assert window.read_block(0x1FFC, 1) + window.read_block(0x3000, 1) == struct.pack("<II", 1, 2)
        assert window.read32(0x2100) == 3, "the rest of the table's page is written through the kernel"
        for offset in (0x2000, 0x208C):
            with pytest.raises(UsageError, match="MSI-X table"):
                window.write32(offset, 0)
        maps = [line.split()[1] for line in Path("/proc/self/maps").read_text().splitlines() if "vfio3" in line]
        assert sorted(maps) == ["r--s", "rw-s", "rw-s"]


def test_without_the_capability_the_msix_page_is_not_mapped(kernel: Any, opened: Open) -> None:
    kernel.add().msix_mappable = False
    with opened() as port:
        window = port.window(0, guard=(0x2000, 0x2090))
        assert window.mapped(0, 0x2000)
        assert not window.mapped(0x2000, 4)
        assert window.mapped(0x3000, 0xD000)


def test_sparse_areas_and_what_lies_between(kernel: Any, opened: Open) -> None:
    kernel.add().sparse[0] = [(0x8000, 0x8000), (0, 0x2000), (0x4800, 0x1000)]
    with opened() as port:
        window = port.window(0)
        assert window.mapped(0, 0x2000)
        assert window.mapped(0x8000, 0x8000)
        assert not window.mapped(0x2000, 4)
        assert not window.mapped(0x4800, 4), "less than a page cannot be mapped"
        window.write32(0x2000, 9)
        assert window.read32(0x2000) == 9


def test_interrupts_reach_the_kernel_as_they_are(kernel: Any, opened: Open) -> None:
    kernel.add()
    with opened() as port:
        port.set_irqs(2, IrqSet.DATA_EVENTFD | IrqSet.ACTION_TRIGGER, 1, 2, [7, -1])
        port.set_irqs(2, IrqSet.DATA_NONE | IrqSet.ACTION_TRIGGER, 0, 0)
        assert kernel.irq_calls == [(2, 0x24, 1, 2, struct.pack("<ii", 7, -1)), (2, 0x21, 0, 0, b"")]
        for code, kind in (
            (errno.EINVAL, UsageError),
            (errno.ENOSPC, SetupError),
            (errno.ENOTTY, UnsupportedError),
            (errno.EBADF, UsageError),
            (errno.EIO, DeviceError),
        ):
            kernel.fail["DEVICE_SET_IRQS"] = deque([code])
            with pytest.raises(kind, match="set 1 interrupt from 0 of index 2"):
                port.set_irqs(2, 0x24, 0, 1, [7])
        with pytest.raises(UsageError):
            port.set_irqs(2, 0x24, -1, 1, [7])


def test_a_reset_is_tried_again_while_the_function_is_locked(
    kernel: Any, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel.add()
    with opened() as port:
        kernel.fail["DEVICE_RESET"] = deque([errno.EAGAIN] * 3)
        port.reset()
        assert kernel.asked[-4:] == ["DEVICE_RESET"] * 4
        monkeypatch.setattr(kernel_device, "RESET_TIMEOUT", 0.05)
        kernel.fail["DEVICE_RESET"] = deque([errno.EAGAIN] * 1000)
        with pytest.raises(DeviceBusy, match="another reset"):
            port.reset()
        kernel.fail["DEVICE_RESET"] = deque([errno.ENOTTY])
        with pytest.raises(UnsupportedError):
            port.reset()


def test_a_function_without_a_reset_says_so(kernel: Any, opened: Open) -> None:
    kernel.add().resets = False
    with opened() as port, pytest.raises(UnsupportedError, match="no reset"):
        port.reset()
    assert "DEVICE_RESET" not in kernel.asked


def test_memory_is_mapped_and_unmapped(kernel: Any, opened: Open, interface: str) -> None:
    kernel.add()
    with opened() as port, SharedMemory(4 * PAGE) as memory:
        space = port.space
        assert [one.start for one in space.ranges()] == [0, 0xFEF0_0000]
        assert space.page_sizes() & -space.page_sizes() == PAGE
        space.map(0x10000, memory.address, 4 * PAGE)
        space.map(0x20000, memory.address, PAGE, write=False)
        with pytest.raises(DeviceBusy, match="mapped already"):
            space.map(0x11000, memory.address, PAGE)
        with pytest.raises(UsageError):
            space.map(0x30001, memory.address, PAGE)
        with pytest.raises(UsageError):
            space.map(-PAGE, memory.address, PAGE)
        with pytest.raises(UsageError, match="must not cut"):
            space.unmap(0x11000, PAGE)
        assert space.unmap(0x40000, PAGE) == 0
        assert space.unmap(0x10000, 4 * PAGE) == 4 * PAGE
        assert space.unmap(0, 1 << 30) == PAGE
        flags = {"type1": (3, 1), "iommufd": (7, 5)}[interface]
        space.map(0x10000, memory.address, PAGE)
        space.map(0x20000, memory.address, PAGE, write=False)
        (table,) = [table for table in kernel.maps.values() if table]
        assert (table[0x10000][2], table[0x20000][2]) == flags


def test_two_functions_share_a_space_and_the_last_closes_it(kernel: Any, opened: Open, interface: str) -> None:
    kernel.add()
    kernel.add(OTHER, group=13, cdev=4)
    first = opened()
    space = first.space
    second = opened(OTHER, space=space)
    assert second.space is space
    assert kernel.iommu_set == (1 if interface == "type1" else 0)
    with pytest.raises(DeviceBusy, match="2 open devices use it"):
        space.close()
    first.close()
    space.map(0x10000, 0x7000_0000, PAGE)
    assert not kernel.container_of.get(12)
    second.close()
    assert space.closed
    assert descriptors(kernel.dev) == []


def test_two_functions_of_one_group_share_its_descriptor(kernel: Any) -> None:
    kernel.add()
    kernel.add(OTHER, cdev=4)
    with open_kernel(BDF, iommu="type1", sysfs=kernel.sys, dev=kernel.dev) as first:
        with open_kernel(OTHER, space=first.space, sysfs=kernel.sys, dev=kernel.dev) as second:
            assert second.mount == "group"
            assert kernel.asked.count("GROUP_SET_CONTAINER") == 1
        assert kernel.container_of[12]
    assert not kernel.container_of[12]


def test_a_space_of_the_other_kind_cannot_be_shared(kernel: Any, opened: Open, interface: str) -> None:
    kernel.add()
    kernel.add(OTHER, group=13, cdev=4)
    wrong = {"type1": "iommufd", "iommufd": "type1"}[interface]
    with opened() as first:
        with pytest.raises(UsageError, match=interface):
            open_kernel(OTHER, iommu=wrong, space=first.space, sysfs=kernel.sys, dev=kernel.dev)
        with pytest.raises(UsageError, match="no address space of the kernel"):
            open_kernel(OTHER, space=type("Soft", (), {"name": "soft"})(), sysfs=kernel.sys, dev=kernel.dev)  # type: ignore[arg-type]


def test_a_busy_node_is_tried_again_for_a_while(kernel: Any, opened: Open, interface: str) -> None:
    kernel.add()
    request = {"type1": "GROUP_GET_DEVICE_FD", "iommufd": "DEVICE_BIND_IOMMUFD"}[interface]
    kernel.fail[request] = deque([errno.EBUSY] * 3)
    opened().close()
    assert kernel.asked.count(request) == 4


def test_every_request_may_fail_and_nothing_leaks(kernel: Any, opened: Open) -> None:
    kernel.add()
    opened().close()
    count = len(kernel.asked)
    for nth in range(count):
        kernel.asked.clear()
        kernel.fail_nth = nth
        kernel.functions[BDF].bound = False
        try:
            port = opened()
        except VfioImsError as error:
            assert BDF in str(error)  # noqa: PT017
        else:
            port.close()  # the failure came with the close
        kernel.fail_nth = None
        kernel.container_of.clear()
        assert descriptors(kernel.dev) == [], f"after failure {nth}"


def test_pasids_need_more_than_a_success(kernel: Any) -> None:
    """The attach succeeds without the capability and does nothing: only the IOMMU's information shows it."""
    kernel.add()
    with open_kernel(BDF, iommu="iommufd", sysfs=kernel.sys, dev=kernel.dev) as port:
        with port.new_space() as space, pytest.raises(UnsupportedError, match="PASID"):
            port.attach_pasid(5, space)
        assert "DEVICE_ATTACH_PT" not in kernel.asked[-1:]
        kernel.fail["GET_HW_INFO"] = deque([errno.ENOTTY])
        with pytest.raises(UnsupportedError):
            port.attach_pasid(5, port.space)


def test_pasids_and_the_function_get_page_tables(kernel: Any) -> None:
    function = kernel.add()
    kernel.max_pasid_log2 = 16
    port = open_kernel(BDF, iommu="iommufd", sysfs=kernel.sys, dev=kernel.dev)
    own = function.attached[None]
    assert own not in kernel.hwpts, "without PASIDs the function is on the plain space"
    space = port.new_space()
    for bad in (0, -1, 1 << 16):
        with pytest.raises(UsageError, match="PASID must be"):
            port.attach_pasid(bad, space)
    port.attach_pasid(5, space)
    assert kernel.hwpts[function.attached[None]] == own
    assert kernel.hwpts[function.attached[5]] == space.id
    port.attach_pasid(6, space)
    port.attach_pasid(7, port.space)
    assert function.attached[6] == function.attached[5]
    assert function.attached[7] == function.attached[None]
    with pytest.raises(DeviceBusy):
        port.attach_pasid(5, space)
    with pytest.raises(UsageError, match="not attached"):
        port.detach_pasid(9)
    port.detach_pasid(6)
    port.detach_pasid(5)
    assert len(kernel.hwpts) == 1
    port.attach_pasid(5, space)
    port.close()
    assert not space.closed, "its maker closes it"
    space.close()
    assert kernel.hwpts == {}
    assert kernel.maps == {}
    assert descriptors(kernel.dev) == []


def test_closing_a_space_detaches_its_pasids(kernel: Any) -> None:
    function = kernel.add()
    kernel.max_pasid_log2 = 16
    with open_kernel(BDF, iommu="iommufd", sysfs=kernel.sys, dev=kernel.dev) as port:
        with port.new_space() as space:
            port.attach_pasid(5, space)
            port.attach_pasid(6, space)
        assert set(function.attached) == {None}
        assert list(kernel.maps) == [port.space.id]
        with pytest.raises(UsageError, match="not attached"):
            port.detach_pasid(5)
        port.attach_pasid(7, port.space)
        with pytest.raises(DeviceBusy):
            port.space.close()
        assert 7 in function.attached
    assert kernel.maps == {}


def test_an_iommu_that_makes_no_such_table_is_unsupported(kernel: Any) -> None:
    kernel.add()
    kernel.max_pasid_log2 = 16
    with open_kernel(BDF, iommu="iommufd", sysfs=kernel.sys, dev=kernel.dev) as port, port.new_space() as space:
        kernel.fail["HWPT_ALLOC"] = deque([errno.EOPNOTSUPP])
        with pytest.raises(UnsupportedError, match="page table"):
            port.attach_pasid(5, space)


def test_a_group_has_no_pasids(kernel: Any) -> None:
    kernel.add()
    with open_kernel(BDF, iommu="type1", sysfs=kernel.sys, dev=kernel.dev) as port:
        with pytest.raises(UnsupportedError, match="iommu=iommufd"):
            port.attach_pasid(5, port.space)
        with pytest.raises(UsageError):
            port.detach_pasid(5)


def test_remapping_is_judged_by_the_interrupts_chip(kernel: Any, opened: Open) -> None:
    kernel.add()
    folder = kernel.sys / "bus/pci/devices" / BDF
    with opened() as port:
        before = port.interrupt_remapping()
        assert before.answer is None
        assert "MSI-X" in before.to_find_out
        (folder / "msi_irqs").mkdir()
        (folder / "msi_irqs/55").write_text("msix\n")
        chip = kernel.sys / "kernel/irq/55"
        chip.mkdir(parents=True)
        (chip / "chip_name").write_text("IR-PCI-MSIX-0000:6a:01.0\n")
        assert port.interrupt_remapping().answer is True
        (chip / "chip_name").write_text("PCI-MSIX-0000:6a:01.0\n")
        assert port.interrupt_remapping().answer is False


def test_what_messages_are_is_shown_once_a_vector_is_attached(kernel: Any, opened: Open) -> None:
    """As on Arm behind an SMMU: the message's address looks like memory, and lies in a reserved region of the group."""
    kernel.add()
    folder = kernel.sys / "bus/pci/devices" / BDF
    group = kernel.sys / "kernel/iommu_groups" / os.readlink(folder / "iommu_group").rpartition("/")[2]
    group.mkdir(parents=True, exist_ok=True)
    (group / "reserved_regions").write_text("0x0000000008000000 0x00000000080fffff msi\n")
    message = Message(0x800_0040, 3)
    with opened() as port:
        assert port.message_platform().format is None
        assert str(port.message_platform().of_entry(message)).endswith("(GICv3 ITS event 3)"), "a guess by its bits"
        (folder / "msi_irqs").mkdir()
        (folder / "msi_irqs/55").write_text("msix\n")
        chip = kernel.sys / "kernel/irq/55"
        chip.mkdir(parents=True)
        (chip / "chip_name").write_text("ITS-PCI-MSIX-0000:6a:01.0\n")
        platform = port.message_platform()
        assert (platform.format, platform.moves) == (Format.ITS, False)
        assert platform.of_entry(Message(0x800_1000, 3)).format is Format.ITS
        assert platform.of_entry(Message(0x1234_0040, 3)).format is Format.MEMORY, "its bits say otherwise"
        assert port.message_platform() is platform, "known now, and not read again"


def test_an_old_kernel_that_names_no_ranges_gets_nothing_mapped_where_messages_go(kernel: Any) -> None:
    kernel.add()
    kernel.ranges = []
    with open_kernel(BDF, iommu="type1", sysfs=kernel.sys, dev=kernel.dev) as port:
        for address in (0x800_0000, 0x80F_F000, 0xFEE0_0000):
            assert not any(one.holds(address, 4096) for one in port.space.ranges())


def test_a_kernel_without_type1v2(kernel: Any) -> None:
    kernel.add()
    kernel._check_extension = lambda *_: 0
    with pytest.raises(SetupError, match="no type1v2"):
        open_kernel(BDF, iommu="type1", sysfs=kernel.sys, dev=kernel.dev)
    assert descriptors(kernel.dev) == []


def test_no_remapping_is_not_a_file_permission(kernel: Any, opened: Open, interface: str) -> None:
    kernel.add()
    kernel.fail["SET_IOMMU"] = deque([errno.EPERM])
    kernel.fail["DEVICE_BIND_IOMMUFD"] = deque([errno.EPERM])
    with pytest.raises(SetupError, match="no interrupt remapping") as caught:
        opened()
    assert not isinstance(caught.value, AccessDenied)
    parameter = {"type1": "vfio_iommu_type1", "iommufd": "iommufd"}[interface]
    assert f"{parameter}.allow_unsafe_interrupts=1" in caught.value.hint


def test_a_device_left_open_is_closed_with_one_warning(kernel: Any, opened: Open) -> None:
    kernel.add()
    port = opened()
    with pytest.warns(ResourceWarning, match=f"{BDF} was not closed") as caught:
        del port
    assert len(caught) == 1
    assert descriptors(kernel.dev) == []


TOKEN = "bd8d9d2b-5a5f-4f5a-a211-f591514ba1f3"


def test_a_vf_token_reaches_the_kernel_by_either_interface(kernel: Any, opened: Open) -> None:
    function = kernel.add()
    with opened(vf_token=TOKEN):
        assert function.token == bytes.fromhex(TOKEN.replace("-", ""))
    with pytest.raises(UsageError, match="vf_token must be a UUID, not 'hello'"):
        opened(vf_token="hello")


def test_an_older_kernel_takes_a_token_through_the_group_only(kernel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    function = kernel.add()
    kernel.tokens = False
    monkeypatch.setattr("platform.release", lambda: "6.12.9-amd64")
    with pytest.raises(UnsupportedError) as refused:
        open_kernel(BDF, iommu="iommufd", vf_token=TOKEN, sysfs=kernel.sys, dev=kernel.dev)
    assert "takes no VF token on Linux 6.12.9-amd64: that came with 6.17" in str(refused.value)
    assert refused.value.hint.startswith(f"{BDF},iommu=type1,vf_token=UUID")
    with open_kernel(BDF, vf_token=TOKEN, sysfs=kernel.sys, dev=kernel.dev) as port:
        assert port.mount == "group"  # auto
        assert function.token is not None


def test_a_bound_function_is_busy_with_a_token_too(kernel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel.add()
    monkeypatch.setattr("platform.release", lambda: "6.18.1")
    kernel.fail["DEVICE_BIND_IOMMUFD"] = deque([errno.EINVAL])
    with pytest.raises(DeviceBusy, match="is in use"):
        open_kernel(BDF, iommu="iommufd", vf_token=TOKEN, sysfs=kernel.sys, dev=kernel.dev)

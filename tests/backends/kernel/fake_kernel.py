# SPDX-License-Identifier: Apache-2.0
"""A kernel of our own below the ioctls: it decodes the real structures, and files stand for its nodes.

A device's descriptor is a file, so that reading, writing and mapping its regions are real.
"""

from __future__ import annotations

import errno
import itertools
import os
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from vfio_ims.native.lib import native

PAGE = 4096
SHIFT = 28
BDF = "0000:6a:01.0"
OTHER = "0000:6a:02.0"


@dataclass
class FakeFunction:
    """What the kernel knows of a function."""

    bdf: str
    group: int
    node: Path
    sizes: dict[int, int] = field(default_factory=lambda: {0: 0x10000, 2: 0x2000, 4: 0x100, 7: 0x1000})
    mappable: set[int] = field(default_factory=lambda: {0, 2})
    sparse: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    msix_mappable: bool = True
    resets: bool = True
    irqs: dict[int, int] = field(default_factory=lambda: {0: 1, 1: 1, 2: 9, 3: 1, 4: 1})
    attached: dict[int | None, int] = field(default_factory=dict)
    bound: bool = False
    token: bytes | None = None
    bus_resets: bool = True
    hot_resets: int = 0
    features: list[tuple[int, bytes]] = field(default_factory=list)


class FakeKernel:
    """Groups, containers, iommufds. ``fail`` names requests that answer with an errno, ``asked`` those made."""

    def __init__(self, root: Path) -> None:
        self.sys, self.dev = root / "sys", root / "dev"
        self.functions: dict[str, FakeFunction] = {}
        self.fail: dict[str, deque[int]] = {}
        self.fail_nth: int | None = None
        self.asked: list[str] = []
        self.irq_calls: list[tuple[int, int, int, int, bytes]] = []
        self.viable: dict[int, bool] = {}
        self.container_of: dict[int, bool] = {}
        self.iommu_set = 0
        self.maps: dict[Any, dict[int, tuple[int, int, int]]] = {}
        self.max_pasid_log2 = 0
        self.attaches_pasids = True
        self.tokens = True  # as from Linux 6.17 on
        self.extensions = {3, 9}  # type1v2, and unmap-all as from Linux 5.12 on
        self.exports = True  # dma-bufs
        self.kinds: list[int] = []
        self.physical, self.contiguous = 0x4000_0000, 1 << 40  # where IOVA 0 lies without an IOMMU
        self.compat = False  # iommufd answers a container's requests
        self.ids = itertools.count(10)
        self.exported: list[tuple[str, int, int, int]] = []
        self.hwpts: dict[int, int] = {}
        self.ranges = [(0, 0xFEDF_FFFF), (0xFEF0_0000, (1 << 39) - 1)]
        self.last_map_flags = 0
        ffi, lib = native()
        self.ffi = ffi
        self.names = {
            getattr(lib, name): name.removeprefix("IOC_") for name in dir(lib) if name.startswith("IOC_") and
            getattr(lib, name) >> 8 == 0x3B and "HOT_RESET" not in name
        }  # fmt: skip
        # The same numbers mean requests of a container.
        self.of_devices = {
            lib.IOC_DEVICE_GET_PCI_HOT_RESET_INFO: "DEVICE_HOT_RESET_INFO",
            lib.IOC_DEVICE_PCI_HOT_RESET: "DEVICE_HOT_RESET",
        }
        for name in ("vfio/vfio", "iommu"):
            self._file(self.dev / name)
        (self.dev / "vfio/devices").mkdir()

    @staticmethod
    def _file(path: Path, text: str = "") -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def add(
        self, bdf: str = BDF, group: int = 12, driver: str | None = "vfio-pci", cdev: int | None = 3
    ) -> FakeFunction:
        folder = self.sys / "bus/pci/devices" / bdf
        folder.mkdir(parents=True)
        if driver:
            (folder / "driver").symlink_to(f"../../drivers/{driver}")
        members = self.sys / "kernel/iommu_groups" / str(group) / "devices"
        members.mkdir(parents=True, exist_ok=True)
        (members / bdf).symlink_to(folder)
        (folder / "iommu_group").symlink_to(members.parent)
        if not (self.dev / "vfio" / str(group)).exists():
            self._file(self.dev / "vfio" / str(group))
        node = self.dev / "vfio" / f"of {bdf}"
        if cdev is not None:
            (folder / "vfio-dev" / f"vfio{cdev}").mkdir(parents=True)
            node = self.dev / "vfio/devices" / f"vfio{cdev}"
        self._file(node)
        os.truncate(node, 10 << SHIFT)
        function = self.functions[bdf] = FakeFunction(bdf, group, node)
        return function

    # --- the one way in ---------------------------------------------------------------------------------------------

    def call(self, fd: int, number: int, argument: Any) -> int:
        path = os.readlink(f"/proc/self/fd/{fd}")
        function = next((one for one in self.functions.values() if str(one.node) == path), None)
        name = self.of_devices.get(number, self.names[number]) if function else self.names[number]
        nth = len(self.asked)
        self.asked.append(name)
        if self.fail.get(name):
            raise OSError(self.fail[name].popleft(), "scripted")
        if nth == self.fail_nth:
            raise OSError(errno.EIO, "scripted")
        if name == "IOMMU_GET_INFO":
            return self._info(argument, struct.pack("<IIQI4x", 0, 3, 0x20_1000, 24), self._iova_cap())
        handler: Callable[..., int] = getattr(self, f"_{name.lower()}")
        if name in ("GET_API_VERSION", "CHECK_EXTENSION", "SET_IOMMU", "DEVICE_RESET"):
            return handler(function, argument)
        if name.startswith("DEVICE"):
            return handler(function, argument)
        if name.startswith("GROUP"):
            return handler(int(Path(path).name.removeprefix("noiommu-")), argument)
        return handler(path, argument)

    def _info(self, argument: Any, fixed: bytes, more: bytes = b"") -> int:
        """As the kernel does: what fits, and in the first word how much there is."""
        room = argument.argsz
        buffer = self.ffi.buffer(self.ffi.cast("uint8_t *", argument), room)
        whole = struct.pack("<I", len(fixed) + len(more)) + fixed[4:] + more
        if room >= len(whole):
            buffer[: len(whole)] = whole
        else:
            buffer[: len(fixed)] = whole[: len(fixed)]
        return 0

    def _iova_cap(self) -> bytes:
        head = struct.pack("<HHIII", 1, 1, 0, len(self.ranges), 0)
        return head + b"".join(struct.pack("<QQ", *one) for one in self.ranges)

    # --- container and group ----------------------------------------------------------------------------------------

    def _get_api_version(self, _: object, argument: object) -> int:
        return 0

    def _check_extension(self, _: object, argument: int) -> int:
        return int(argument in self.extensions)

    def _set_iommu(self, _: object, argument: int) -> int:
        assert argument in self.extensions & {3, 8}
        self.kinds.append(argument)
        self.iommu_set += 1
        return 0

    def _iommu_map_dma(self, path: str, wanted: Any) -> int:
        return self._map("type1", wanted.iova, wanted.vaddr, wanted.size, wanted.flags)

    def _iommu_unmap_dma(self, path: str, wanted: Any) -> int:
        if wanted.flags == 2:  # VFIO_DMA_UNMAP_FLAG_ALL
            assert (wanted.iova, wanted.size) == (0, 0)
            assert 9 in self.extensions
            wanted.size = self._unmap("type1", 0, 1 << 64, errno.EINVAL)
        else:
            wanted.size = self._unmap("type1", wanted.iova, wanted.size, errno.EINVAL)
        return 0

    def _map(self, space: Any, iova: int, address: int, size: int, flags: int) -> int:
        table = self.maps.setdefault(space, {})
        if (iova | address | size) % PAGE or not size:
            raise OSError(errno.EINVAL, "")
        if any(start < iova + size and iova < start + length for start, (_, length, _) in table.items()):
            raise OSError(errno.EEXIST, "")
        table[iova] = (address, size, flags)
        return 0

    def _unmap(self, space: Any, iova: int, size: int, cut: int) -> int:
        table = self.maps.setdefault(space, {})
        met = [s for s, (_, length, _) in table.items() if s < iova + size and iova < s + length]
        if any(s < iova or s + table[s][1] > iova + size for s in met):
            raise OSError(cut, "")
        return sum(table.pop(s)[1] for s in met)

    def _group_get_status(self, group: int, status: Any) -> int:
        status.flags = int(self.viable.get(group, True)) | 2 * self.container_of.get(group, False)
        return 0

    def _group_set_container(self, group: int, argument: Any) -> int:
        assert os.readlink(f"/proc/self/fd/{argument[0]}") == str(self.dev / ("iommu" if self.compat else "vfio/vfio"))
        assert not self.container_of.get(group)
        self.container_of[group] = True
        return 0

    def _group_unset_container(self, group: int, _: object) -> int:
        assert self.container_of[group]
        self.container_of[group] = False
        return 0

    def _group_get_device_fd(self, group: int, name: Any) -> int:
        assert self.container_of[group]
        bdf, _, token = self.ffi.string(name).decode().partition(" vf_token=")
        function = self.functions[bdf]
        function.token = UUID(token).bytes if token else None
        if function.group != group:
            raise OSError(errno.ENODEV, "")
        return os.open(function.node, os.O_RDWR | os.O_CLOEXEC)

    # --- device -----------------------------------------------------------------------------------------------------

    def _device_get_info(self, function: FakeFunction, argument: Any) -> int:
        flags = 2 | int(function.resets)
        return self._info(argument, struct.pack("<IIIIII", 0, flags, 9, 5, 0, 0))

    def _device_get_region_info(self, function: FakeFunction, argument: Any) -> int:
        index = argument.index
        size = function.sizes.get(index, 0)
        more, flags = b"", 3 if size else 0
        if index in function.mappable:
            flags |= 4
            if index in function.sparse:
                areas = function.sparse[index]
                more += struct.pack("<HHIII", 1, 1, 0, len(areas), 0) + b"".join(struct.pack("<QQ", *a) for a in areas)
            elif function.msix_mappable:
                more += struct.pack("<HHI", 3, 1, 0)
        fixed = struct.pack("<IIIIQQ", 0, flags | 8 * bool(more), index, 32 if more else 0, size, index << SHIFT)
        return self._info(argument, fixed, more)

    def _device_get_irq_info(self, function: FakeFunction, argument: Any) -> int:
        return self._info(argument, struct.pack("<IIII", 0, 1, argument.index, function.irqs[argument.index]))

    def _device_set_irqs(self, function: FakeFunction, wanted: Any) -> int:
        text = bytes(self.ffi.buffer(self.ffi.cast("uint8_t *", wanted), wanted.argsz))
        self.irq_calls.append((wanted.index, wanted.flags, wanted.start, wanted.count, text[20:]))
        return 0

    def _device_reset(self, function: FakeFunction, _: object) -> int:
        return 0

    def _affected(self, function: FakeFunction) -> list[FakeFunction]:
        if not function.bus_resets:
            raise OSError(errno.ENODEV, "")
        return [one for one in self.functions.values() if one.bdf[:7] == function.bdf[:7]]

    def _device_hot_reset_info(self, function: FakeFunction, wanted: Any) -> int:
        affected = self._affected(function)
        wanted.count = len(affected)
        if wanted.argsz < 12 + 8 * len(affected):
            raise OSError(errno.ENOSPC, "")
        wanted.flags = int(function.bound)
        out = self.ffi.cast("struct ioc_dependent_device *", self.ffi.cast("uint8_t *", wanted) + 12)
        for at, one in enumerate(affected):
            segment, bus, rest = one.bdf.split(":")
            out[at].segment, out[at].bus = int(segment, 16), int(bus, 16)
            out[at].devfn = int(rest[:2], 16) << 3 | int(rest[3])
            out[at].group_id = (7 if one.bound else 0xFFFF_FFFF) if function.bound else one.group
        return 0

    def _device_hot_reset(self, function: FakeFunction, wanted: Any) -> int:
        whole = bytes(self.ffi.buffer(self.ffi.cast("uint8_t *", wanted), wanted.argsz))
        shown = [os.readlink(f"/proc/self/fd/{fd}") for (fd,) in struct.iter_unpack("i", whole[12:])]
        assert len(shown) == wanted.count
        affected = self._affected(function)
        if bool(shown) == function.bound:
            raise OSError(errno.EINVAL, "groups are shown by those who opened through one")
        if function.bound:
            owned = all(one.bound for one in affected)
        else:
            owned = {Path(path).name for path in shown} == {str(one.group) for one in affected}
        if not owned:
            raise OSError(errno.EINVAL, "")
        for one in affected:
            one.hot_resets += 1
        return 0

    def _device_feature(self, function: FakeFunction, wanted: Any) -> int:
        if wanted.flags == 1 << 16 | 11:
            return self._dma_buf(function, wanted)
        data = bytes(self.ffi.buffer(self.ffi.cast("uint8_t *", wanted), wanted.argsz))[8:]
        function.features.append((wanted.flags, data))
        return 0

    def _device_bind_iommufd(self, function: FakeFunction, wanted: Any) -> int:
        assert os.readlink(f"/proc/self/fd/{wanted.iommufd}") == str(self.dev / "iommu")
        if wanted.flags:  # a VF token, at the address that follows the structure
            if not self.tokens:
                raise OSError(errno.EINVAL, "")
            assert (wanted.flags, wanted.argsz) == (1, 24)
            address = self.ffi.cast("uint64_t *", wanted)[2]
            function.token = bytes(self.ffi.buffer(self.ffi.cast("uint8_t *", address), 16))
        function.bound = True
        wanted.out_devid = 7
        return 0

    def _device_attach_pt(self, function: FakeFunction, wanted: Any) -> int:
        assert function.bound
        pasid = wanted.pasid if wanted.flags else None
        if pasid is not None and wanted.pt_id not in self.hwpts:
            raise OSError(errno.EINVAL, "a PASID wants a page table")
        if pasid is not None and not self.attaches_pasids:
            raise OSError(errno.EOPNOTSUPP, "the page table takes no PASIDs")
        function.attached[pasid] = wanted.pt_id
        return 0

    def _device_detach_pt(self, function: FakeFunction, wanted: Any) -> int:
        del function.attached[wanted.pasid if wanted.flags else None]
        return 0

    def _dma_buf(self, function: FakeFunction, wanted: Any) -> int:
        _, region, _, zero, ranges, offset, size = struct.unpack(
            "<4xIIIIIQQ", self.ffi.buffer(self.ffi.cast("uint8_t *", wanted), wanted.argsz)
        )
        assert (zero, ranges) == (0, 1)
        if not self.exports:
            raise OSError(errno.ENOTTY, "")
        self.exported.append((function.bdf, region, offset, size))
        return os.open(self.dev / "null", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)

    # --- iommufd ----------------------------------------------------------------------------------------------------

    def _ioas_alloc(self, path: str, wanted: Any) -> int:
        wanted.out_ioas_id = next(self.ids)
        self.maps[wanted.out_ioas_id] = {}
        return 0

    def _ioas_ranges(self, path: str, wanted: Any) -> int:
        room, wanted.num_iovas, wanted.out_iova_alignment = wanted.num_iovas, len(self.ranges), PAGE
        if room < len(self.ranges):
            raise OSError(errno.EMSGSIZE, "")
        out = self.ffi.cast("struct ioc_iova_range *", wanted.allowed_iovas)
        for i, (start, last) in enumerate(self.ranges):
            out[i].start, out[i].last = start, last
        return 0

    def _ioas_map(self, path: str, wanted: Any) -> int:
        assert wanted.flags & 1
        return self._map(wanted.ioas_id, wanted.iova, wanted.user_va, wanted.length, wanted.flags)

    def _vfio_ioas(self, path: str, wanted: Any) -> int:
        if path != str(self.dev / "iommu"):
            raise OSError(errno.EINVAL, "")
        if not any(self.container_of.values()):
            raise OSError(errno.ENODEV, "")
        wanted.ioas_id = 5
        return 0

    def _ioas_noiommu_get_pa(self, path: str, wanted: Any) -> int:
        assert wanted.iova in self.maps[wanted.ioas_id]
        wanted.out_phys, wanted.length = self.physical + wanted.iova, min(wanted.length, self.contiguous)
        return 0

    def _ioas_map_file(self, path: str, wanted: Any) -> int:
        assert wanted.flags & 1
        return self._map(wanted.ioas_id, wanted.iova, wanted.start, wanted.length, wanted.flags)

    def _ioas_unmap(self, path: str, wanted: Any) -> int:
        if wanted.length == (1 << 64) - 1:
            assert wanted.iova == 0
        wanted.length = self._unmap(wanted.ioas_id, wanted.iova, wanted.length, errno.ENOENT)
        if not wanted.length:
            raise OSError(errno.ENOENT, "")
        return 0

    def _hwpt_alloc(self, path: str, wanted: Any) -> int:
        assert wanted.flags == 8
        wanted.out_hwpt_id = next(self.ids)
        self.hwpts[wanted.out_hwpt_id] = wanted.pt_id
        return 0

    def _get_hw_info(self, path: str, wanted: Any) -> int:
        wanted.out_max_pasid_log2 = self.max_pasid_log2
        return 0

    def _iommufd_destroy(self, path: str, wanted: Any) -> int:
        if wanted.id in self.hwpts:
            del self.hwpts[wanted.id]
        else:
            del self.maps[wanted.id]
        return 0

# SPDX-License-Identifier: Apache-2.0
"""Our declarations of the kernel's interface against the kernel's own figures.

Numbers and sizes: include/uapi/linux/vfio.h and iommufd.h of Linux 7.3. A compiler compares every member's offset with
the headers that VFIO_IMS_KERNEL_HEADERS names, else with the VM lab's, else with this machine's own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.vm.pieces import HINT, LabError, find
from vfio_ims.native import build
from vfio_ims.native.lib import native

NATIVE = Path(build.__file__).parent

# What _IO(';', n) makes of n.
REQUESTS = {
    "GET_API_VERSION": 100, "CHECK_EXTENSION": 101, "SET_IOMMU": 102, "GROUP_GET_STATUS": 103,
    "GROUP_SET_CONTAINER": 104, "GROUP_UNSET_CONTAINER": 105, "GROUP_GET_DEVICE_FD": 106, "DEVICE_GET_INFO": 107,
    "DEVICE_GET_REGION_INFO": 108, "DEVICE_GET_IRQ_INFO": 109, "DEVICE_SET_IRQS": 110, "DEVICE_RESET": 111,
    "DEVICE_GET_PCI_HOT_RESET_INFO": 112, "DEVICE_PCI_HOT_RESET": 113,
    "IOMMU_GET_INFO": 112, "IOMMU_MAP_DMA": 113, "IOMMU_UNMAP_DMA": 114, "DEVICE_FEATURE": 117,
    "DEVICE_BIND_IOMMUFD": 118, "DEVICE_ATTACH_PT": 119, "DEVICE_DETACH_PT": 120, "IOMMUFD_DESTROY": 0x80,
    "IOAS_ALLOC": 0x81, "IOAS_RANGES": 0x84, "IOAS_MAP": 0x85, "IOAS_UNMAP": 0x86, "HWPT_ALLOC": 0x89,
    "GET_HW_INFO": 0x8A, "VFIO_IOAS": 0x88, "IOAS_MAP_FILE": 0x8F, "IOAS_NOIOMMU_GET_PA": 0x95,
}  # fmt: skip

SIZES = {
    "cap_header": 8, "group_status": 8, "device_info": 24, "region_info": 32, "area": 16, "cap_sparse_mmap": 16,
    "irq_info": 16, "irq_set": 20, "dependent_device": 8, "hot_reset_info": 12,
    "hot_reset": 12, "device_feature": 8, "iommu_info": 24, "iova_range": 16, "cap_iova_range": 16,
    "cap_dma_avail": 12, "dma_map": 32, "dma_unmap": 24, "bind_iommufd": 16, "attach_pt": 16, "detach_pt": 12,
    "iommufd_destroy": 8, "ioas_alloc": 12, "ioas_ranges": 32, "ioas_map": 40, "ioas_unmap": 24, "hwpt_alloc": 40,
    "hw_info": 40, "ioas_map_file": 40, "vfio_ioas": 12, "ioas_noiommu_get_pa": 40, "feature_dma_buf": 16,
    "dma_range": 16,
}  # fmt: skip

# Ours: the kernel's name, and members that are called otherwise there.
KERNELS = {
    "linux/vfio.h": {
        "cap_header": "vfio_info_cap_header", "group_status": "vfio_group_status", "device_info": "vfio_device_info",
        "region_info": "vfio_region_info", "area": "vfio_region_sparse_mmap_area",
        "cap_sparse_mmap": "vfio_region_info_cap_sparse_mmap", "irq_info": "vfio_irq_info", "irq_set": "vfio_irq_set",
        "dependent_device": "vfio_pci_dependent_device", "hot_reset_info": "vfio_pci_hot_reset_info",
        "hot_reset": "vfio_pci_hot_reset", "device_feature": "vfio_device_feature",
        "iommu_info": "vfio_iommu_type1_info",
        "cap_iova_range": "vfio_iommu_type1_info_cap_iova_range",
        "cap_dma_avail": "vfio_iommu_type1_info_dma_avail", "dma_map": "vfio_iommu_type1_dma_map",
        "dma_unmap": "vfio_iommu_type1_dma_unmap",
    },
    # Since Linux 6.6, the PASIDs since 6.15.
    "linux/vfio.h VFIO_DEVICE_ATTACH_PASID": {
        "bind_iommufd": "vfio_device_bind_iommufd", "attach_pt": "vfio_device_attach_iommufd_pt",
        "detach_pt": "vfio_device_detach_iommufd_pt",
    },
    "linux/iommufd.h": {
        "iova_range": "iommu_iova_range", "iommufd_destroy": "iommu_destroy", "ioas_alloc": "iommu_ioas_alloc",
        "ioas_ranges": "iommu_ioas_iova_ranges", "ioas_map": "iommu_ioas_map", "ioas_unmap": "iommu_ioas_unmap",
        "hwpt_alloc": "iommu_hwpt_alloc", "hw_info": "iommu_hw_info", "vfio_ioas": "iommu_vfio_ioas",
    },
    # Since Linux 6.13, 6.19 and 7.3.
    "linux/iommufd.h IOMMU_IOAS_MAP_FILE": {"ioas_map_file": "iommu_ioas_map_file"},
    "linux/vfio.h VFIO_DEVICE_FEATURE_DMA_BUF": {
        "feature_dma_buf": "vfio_device_feature_dma_buf", "dma_range": "vfio_region_dma_range",
    },
    "linux/iommufd.h IOMMU_IOAS_NOIOMMU_GET_PA": {"ioas_noiommu_get_pa": "iommu_ioas_noiommu_get_pa"},
}  # fmt: skip


def test_every_request_has_its_number() -> None:
    lib = native().lib
    ours = {name: getattr(lib, f"IOC_{name}") for name in REQUESTS}
    assert ours == {name: ord(";") << 8 | number for name, number in REQUESTS.items()}
    declared = [line.split()[0] for line in (NATIVE / "uapi.h").read_text().splitlines() if "= 0x3b" in line]
    assert set(declared) == {f"IOC_{name}" for name in REQUESTS}, "and none goes unchecked"


def test_every_structure_has_its_size() -> None:
    ffi = native().ffi
    assert {name: ffi.sizeof(f"struct ioc_{name}") for name in SIZES} == SIZES
    declared = [line.split()[1] for line in (NATIVE / "uapi.h").read_text().splitlines() if line.startswith("struct ")]
    assert set(declared) == {f"ioc_{name}" for name in SIZES}, "and none goes unchecked"


def headers() -> Path:
    """The folder with the newest kernel headers that there are."""
    named = os.environ.get("VFIO_IMS_KERNEL_HEADERS")
    if named:
        return Path(named)
    try:
        return find().headers
    except LabError:
        return Path("/usr/include")


@pytest.mark.parametrize("header", KERNELS)
def test_the_members_are_where_the_kernels_header_has_them(header: str, tmp_path: Path) -> None:
    compiler = shutil.which("gcc")
    folder = headers()
    file, _, feature = header.partition(" ")
    if compiler is None or not (folder / file).exists() or feature not in (folder / file).read_text():
        pytest.skip(
            f"needs gcc and a newer {header} than {folder} has: {HINT}, or name a kernel's include/uapi in"
            " VFIO_IMS_KERNEL_HEADERS"
        )
    ffi = native().ffi
    checks = [
        f"offsetof(struct ioc_{ours}, {member}) == offsetof(struct {theirs}, {member})"
        for ours, theirs in KERNELS[header].items()
        for member, _ in ffi.typeof(f"struct ioc_{ours}").fields
        if member not in ("pad", "reserved")
    ]
    text = f'#include <stddef.h>\n#include <{file}>\n#include "uapi.h"\n'
    text += "".join(f'_Static_assert({check}, "{check}");\n' for check in checks)
    source = tmp_path / "members.c"
    source.write_text(text)
    subprocess.run(
        [
            compiler,
            "-std=gnu11",
            "-D__user=",
            "-D__counted_by(count)=",
            "-fsyntax-only",
            f"-I{NATIVE}",
            f"-I{folder}",
            source,
        ],
        check=True,
    )
    assert len(checks) > 5

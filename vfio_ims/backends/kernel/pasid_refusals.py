# SPDX-License-Identifier: Apache-2.0
"""Why the kernel attaches no PASID of a function, by the IOMMU in front of it.

iommufd attaches a PASID to a page table where the IOMMU's driver has a set_dev_pasid for it. In Linux 7.3 those of
VT-d and of an Arm SMMUv3 have one. AMD-Vi's page tables have none, of either format: only a process's own address
space, which iommufd does not hand out, takes PASIDs there (drivers/iommu/amd/iommu.c amdv1_ops and amdv2_ops, pasid.c
amd_sva_domain_ops; drivers/iommu/iommu.c iommu_attach_device_pasid answers EOPNOTSUPP). virtio-iommu has none either.
"""

from __future__ import annotations

from vfio_ims.errors import UnsupportedError
from vfio_ims.sysfs import Function

__all__ = ["pasids_refused"]

_WITHOUT = "; slots and their interrupts work without"
_VTD = (
    "the function has no PASID capability, or the IOMMU is not in scalable mode, or the kernel is too old",
    "lspci -vv for the capability; intel_iommu=on,sm_on; Linux 6.15",
)
_AMD = (
    "Linux's driver of AMD-Vi attaches no PASIDs for VFIO (7.3 and before)",
    f"use the device's own address space: no setting of an AMD machine changes that{_WITHOUT}",
)
_SMMU = (
    "the function has no PASID capability, or the SMMU takes no substreams, or the kernel is too old",
    "lspci -vv for the capability; Linux 6.15",
)
_OTHER = (
    "{iommu} takes no PASIDs, or the function has no PASID capability, or the kernel is too old",
    f"use the device's own address space{_WITHOUT}",
)
_BY_UNIT = {"dmar": _VTD, "ivhd": _AMD, "smmu3": _SMMU}
"""By how each kind of IOMMU names its units in sysfs."""


def pasids_refused(function: Function, operation: str, code: int | None = None) -> UnsupportedError:
    """PASIDs cannot be had: IOMMU_GET_HW_INFO shows none, or the kernel answered ``code`` to a request for one."""
    iommu = function.iommu or "the IOMMU"
    found = next((words for unit, words in _BY_UNIT.items() if iommu.startswith(unit)), _OTHER)
    why, hint = (text.format(iommu=iommu) for text in found)
    return UnsupportedError(operation, device=str(function.address), why=why, hint=hint, errno=code)

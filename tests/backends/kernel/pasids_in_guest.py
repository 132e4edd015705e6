# SPDX-License-Identifier: Apache-2.0
"""Run inside a guest in scalable mode by test_kernel_vm.py: PASIDs on a real iommufd, with a model that has them."""

from __future__ import annotations

import os

from vfio_ims.backends.kernel.cdev import CdevDevice
from vfio_ims.backends.kernel.opening import open_kernel
from vfio_ims.errors import DeviceBusy, UnsupportedError, UsageError, VfioImsError
from vfio_ims.native.memory import SharedMemory

IOVA = 0x20_0000


def refused(kind: type[VfioImsError], port: CdevDevice, pasid: int) -> None:
    try:
        port.attach_pasid(pasid, port.space)
    except kind:
        return
    raise AssertionError(f"PASID {pasid} was attached")


def main() -> None:
    bdf = os.environ["VFIO_IMS_VM_FUNCTIONS"].split()[0]
    with open_kernel(bdf, iommu="type1") as group:
        refused(UnsupportedError, group, 5)  # type: ignore[arg-type]
    with open_kernel(bdf, iommu="iommufd") as port, SharedMemory(1 << 16) as memory:
        assert isinstance(port, CdevDevice)
        bits = port.pasid_bits()
        assert bits > 0
        port.space.map(IOVA, memory.address, memory.size)
        with port.new_space() as space:
            for _ in range(2):
                port.attach_pasid(5, space)
                port.attach_pasid(6, space)
                port.attach_pasid(7, port.space)
                space.map(IOVA, memory.address, memory.size)
                refused(DeviceBusy, port, 5)
                refused(UsageError, port, 0)
                refused(UsageError, port, 1 << bits)
                assert space.unmap(IOVA, memory.size) == memory.size
                for pasid in (5, 6, 7):
                    port.detach_pasid(pasid)
            port.attach_pasid(8, space)
        port.reset()
        assert port.space.unmap(IOVA, memory.size) == memory.size
    with open_kernel(bdf, iommu="iommufd") as port:
        port.attach_pasid(5, port.space)
    print("done")


main()

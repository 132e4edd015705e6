# SPDX-License-Identifier: Apache-2.0
"""PASIDs attached through iommufd where the function, the IOMMU and the kernel have them; not believed elsewhere.

    pasids.py DEVICE

What a PASID reaches cannot be shown here: requests of a vfio-user server carry none.
"""

import json
import sys

import vfio_ims
from vfio_ims.errors import DeviceBusy, UnsupportedError, UsageError
from vfio_ims.ims import FireStatus
from vfio_ims.native import iommufd, vfio

TIMEOUT = 20.0
FIRST, SECOND = 5, 0x1234


def plain_attach(port) -> str:
    """What the kernel says to who does not ask IOMMU_GET_HW_INFO first."""
    space = port.space
    try:
        table = iommufd.hwpt_alloc(space.iommu.fileno(), port.id, space.id, pasid=True)
    except OSError as error:
        return f"no page table: {error.strerror}"
    try:
        vfio.attach_pt(port.device.fileno(), table)
        vfio.attach_pt(port.device.fileno(), table, FIRST)
        vfio.detach_pt(port.device.fileno(), FIRST)
    except OSError as error:
        return f"no attach: {error.strerror}"
    return "success"


def works(driver, slots) -> None:
    """Each slot is raised by work of its own PASID (None: untagged), and by no other."""
    for irq in slots:
        assert driver.fire(irq.slot, **({} if irq.pasid is None else {"pasid": irq.pasid})).status is FireStatus.SENT
        assert irq.wait(TIMEOUT), irq
        report = driver.fire(irq.slot, pasid=(irq.pasid or FIRST) ^ 1)
        assert report.status is FireStatus.REFUSED, report


with vfio_ims.open_driver(sys.argv[1]) as driver:
    device = driver.device
    bits = device.port.pasid_bits()
    facts = {"bits": bits}
    if not bits:
        facts["plain attach"] = plain_attach(device.port)
        try:
            device.attach_pasid(FIRST)
        except UnsupportedError as error:
            facts["refused"] = str(error)
        json.dump(facts, sys.stdout)
        sys.exit()

    domain = driver.ims
    slots = [domain.allocate(), domain.allocate(pasid=FIRST), domain.allocate(pasid=SECOND)]
    works(driver, slots)
    with device.attach_pasid(FIRST) as own, device.attach_pasid(SECOND, device.dma) as same:
        buffer = own.space.allocate(4096)
        assert own.space is not device.dma
        assert same.space is device.dma
        facts["iova"] = buffer.iova
        for pasid, kind in ((FIRST, DeviceBusy), (0, UsageError), (1 << bits, UsageError)):
            try:
                device.attach_pasid(pasid)
            except kind as error:
                facts[f"PASID {pasid:#x}"] = str(error)
            else:
                raise AssertionError(f"PASID {pasid:#x} was attached")
        works(driver, slots)
        driver.reset()
        for irq in slots:
            assert irq.wait(0), f"{irq}: not woken by the reset"
        works(driver, slots)
    works(driver, slots)
    with device.attach_pasid(FIRST), device.attach_pasid((1 << bits) - 1):
        works(driver, slots)
    forgotten = device.attach_pasid(SECOND)
assert forgotten.closed
with vfio_ims.open(sys.argv[1]) as device, device.attach_pasid(SECOND):
    pass
json.dump(facts, sys.stdout)

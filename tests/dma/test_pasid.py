# SPDX-License-Identifier: Apache-2.0
"""PASIDs with address spaces of their own, where the mount has them."""

import pytest

import vfio_ims
from vfio_ims.errors import DeviceBusy, UnsupportedError


def test_a_pasid_has_an_address_space_of_its_own() -> None:
    with vfio_ims.open("mock:intel-dsa") as device:
        own = device.dma.allocate(4096)
        with device.attach_pasid(7) as pasid:
            buffer = pasid.space.allocate(4096, iova=own.iova)  # the same address, other memory
            assert buffer.iova == own.iova
            assert device.dma.find(own.iova)[0] is own
            with pytest.raises(DeviceBusy):
                device.attach_pasid(7)
        with device.attach_pasid(7):  # free again
            pass


def test_a_pasid_can_see_the_devices_own_memory() -> None:
    with vfio_ims.open("mock:intel-dsa") as device, device.attach_pasid(7, device.dma) as pasid:
        assert pasid.space is device.dma


def test_without_the_capability_an_attach_is_refused_rather_than_believed() -> None:
    with vfio_ims.open("mock:minimal") as device:
        assert device.port.pasid_bits() == 0
        with pytest.raises(UnsupportedError, match="no PASID capability"):
            device.attach_pasid(7)


def test_a_devices_pasids_go_with_it() -> None:
    with vfio_ims.open("mock:intel-dsa") as device:
        pasid = device.attach_pasid(9)
        pasid.space.allocate(4096)
    assert pasid.closed
    assert pasid.space.closed

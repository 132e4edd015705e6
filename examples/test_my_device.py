# SPDX-License-Identifier: Apache-2.0
"""Hardware-in-the-loop tests, to be copied: the same ones run on a model on a laptop, and on silicon.

    pytest examples/test_my_device.py                                   on a model in this process
    pytest examples/test_my_device.py --vfio-device 0000:6a:01.0        on this device, if it is of the model's family

``--vfio-require`` makes a test fail that finds no device, instead of skipping it.
"""

import pytest

from vfio_ims.driver import Driver
from vfio_ims.ims import FireStatus
from vfio_ims.testing import silent

pytestmark = pytest.mark.vfio(model="intel-dsa")


def test_a_fired_slot_wakes_its_owner_once(ims_driver: Driver) -> None:
    with ims_driver.ims.allocate() as irq:
        assert ims_driver.fire(irq.slot).status is FireStatus.SENT
        assert irq.wait(timeout=1)
        assert silent(irq)


def test_a_masked_slot_holds_its_interrupt_until_unmasked(ims_driver: Driver) -> None:
    with ims_driver.ims.allocate(masked=True) as irq:
        assert ims_driver.fire(irq.slot).status is FireStatus.PENDING
        assert irq.pending
        assert silent(irq)
        irq.unmask()
        assert irq.wait(timeout=1)


def test_interrupts_survive_a_reset(ims_driver: Driver) -> None:
    with ims_driver.ims.allocate() as irq:
        ims_driver.reset()
        irq.wait(timeout=0)  # every owner is woken once
        ims_driver.fire(irq.slot)
        assert irq.wait(timeout=1)

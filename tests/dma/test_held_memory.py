# SPDX-License-Identifier: Apache-2.0
"""Memory that the library accesses by its address lives as long as it does so, also when the buffer is closed.

Each case is a process of its own: an access to memory that is gone would end it.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

import vfio_ims
from vfio_ims.errors import ClosedError

BEGIN = """
import contextlib, mmap
import vfio_ims
from dataclasses import replace
from vfio_ims.errors import VfioImsError

def close_all(driver):
    for buffer in driver.device.dma.buffers:
        buffer.close()

def fire_while_pending(driver):
    irq = driver.ims.allocate(masked=True)
    driver.fire(irq.slot)
    irq.close()  # what is pending is discharged into the scratch page
"""

SCRATCH = """
driver = vfio_ims.open_driver("mock:minimal")
fire_while_pending(driver)
close(driver)
with contextlib.suppress(VfioImsError):
    fire_while_pending(driver)
driver.close()
"""

EVENT_LOG = """
from vfio_ims.drivers.intel_idxd.driver.configuration import Configuration
driver = vfio_ims.open_driver("mock:intel-dsa,version=2")
driver.configure(replace(Configuration.even(driver.capabilities), event_log=64))
close(driver)
with contextlib.suppress(VfioImsError), driver.wq(0) as wq:
    wq.memmove(0x1000, 0x2000, 64)
with contextlib.suppress(VfioImsError):
    driver.regs.EVLSTATUS.write(head=5)
    driver.events()
driver.close()
"""

HOW = {
    "buffers": "close = close_all\n",
    "space": "close = lambda driver: driver.device.dma.close()\n",
    "unmap_all": "close = lambda driver: driver.device.dma.unmap_all()\n",
}


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("what", [SCRATCH, EVENT_LOG], ids=["scratch words", "event log"])
def test_what_is_closed_beneath_a_driver_is_no_crash(what: str, how: str) -> None:
    program = BEGIN + HOW[how] + what + "print('over')\n"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout == "over\n", (done.returncode, done.stderr[-2000:])


def test_a_closed_buffer_gives_no_address() -> None:
    with vfio_ims.open("mock:minimal") as device:
        buffer = device.dma.allocate(4096)
        assert buffer.address
        buffer.close()
        with pytest.raises(ClosedError, match=r"closed by .*test_held_memory"):
            _ = buffer.address

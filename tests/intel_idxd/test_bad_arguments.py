# SPDX-License-Identifier: Apache-2.0
"""Intel DML's cases, ``tools/tests``: each operation with arguments that it refuses."""

from __future__ import annotations

import pytest

from tests.intel_idxd.memory import PAGE, arena
from vfio_ims.drivers.intel_idxd.driver import Dsa
from vfio_ims.drivers.intel_idxd.driver.configuration import Configuration
from vfio_ims.drivers.intel_idxd.driver.operations import Request
from vfio_ims.drivers.intel_idxd.hardware.descriptors import Flag
from vfio_ims.drivers.intel_idxd.hardware.status import Status


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 8, 9, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x20])
def test_bad_arguments(dsa: Dsa, opcode: int) -> None:
    """Each operation with no size, too large a size, an unknown flag and a reserved byte that is not 0."""
    memory = arena(dsa, 4 * PAGE)
    good = Request(opcode, 0, memory.at(0), memory.at(PAGE), 512)
    with dsa.wq(0) as wq:

        def run(**how: object) -> int:
            return wq.start(good._replace(**how)).wait(check=False).status  # type: ignore[arg-type]

        assert run(size=0) == Status.SIZE
        assert run(flags=1 << 6) == run(flags=1 << 23) == run(flags=Flag.FENCE) == Status.FLAGS
        assert run(extra=1) == Status.RESERVED
        if opcode != 0x15:  # DIF update has no byte to spare
            assert run(specific=b"\0" * 17 + b"\1" + b"\0" * 6 if opcode not in (0x13,) else b"\1") == Status.RESERVED
        assert wq.nop().ok
    dsa.configure(Configuration.even(dsa.capabilities).with_queue(0, max_transfer_shift=8))
    with dsa.wq(0) as wq:
        assert wq.start(good).wait(check=False).status == Status.SIZE

# SPDX-License-Identifier: Apache-2.0
"""The self-test where no MSI-X of the function arrives, and IMS does: its.py FUNCTION SLOTS.

Prints the report as JSON, with the messages that some slots had. QEMU gives an MSI-X message the function's requester
id, and one that a vfio-user server writes none: an ITS of its takes one of the two.
"""

import json
import sys
from typing import Any

from vfio_ims.driver import open_driver
from vfio_ims.errors import UnsupportedError
from vfio_ims.selftest import Options, run


def no_vector(vector: int) -> None:
    raise UnsupportedError(f"fire vector {vector}", why="this ITS has the function's messages under another DeviceID")


name, slots = sys.argv[1:]
found: dict[str, Any] = {}
with open_driver(name) as driver:
    with driver.ims.allocate_group(4) as group:
        found["messages"] = [(irq.message.address, irq.message.data, str(irq)) for irq in group]
    driver.fire_vector = no_vector  # type: ignore[method-assign]
    report = run(driver, options=Options(timeout=20, slots=int(slots)))
    print(json.dumps(found | report.to_json()))

# SPDX-License-Identifier: Apache-2.0
"""Donors from MSI on a real kernel: without a descriptor of config space, with another function's, with the right one.

Prints what was found as JSON. Run as root: FUNCTION OTHER.
"""

import json
import os
import sys
from typing import Any

from vfio_ims.drivers.synopsys_edma.driver import Edma
from vfio_ims.errors import VfioImsError
from vfio_ims.selftest import Options, run


def without(name: str) -> str:
    """What the verdict says to someone who passes nothing."""
    with Edma.open(name) as edma:
        return str(edma.verdict)


def refused(name: str, other: str) -> str:
    """What is said of another function's descriptor."""
    descriptor = os.open(f"/sys/bus/pci/devices/{other}/config", os.O_RDONLY)
    try:
        Edma.open(f"{name},config={descriptor}").close()
    except VfioImsError as error:
        return str(error)
    finally:
        os.close(descriptor)
    return ""


def tested(name: str) -> dict[str, Any]:
    """The self-test over MSI donors, and what the slots hold meanwhile."""
    descriptor = os.open(f"/sys/bus/pci/devices/{name}/config", os.O_RDONLY)
    with Edma.open(f"{name},config={descriptor}") as edma:
        verdict = edma.verdict
        with edma.ims.allocate_group(4) as group:
            messages = [(irq.message.address, irq.message.data) for irq in group]
        report = run(edma, options=Options(timeout=10))
        carried = verdict.link("shared address")
        found = {"donors": verdict.donors, "carried": str(carried), "messages": messages, "report": str(report)}
        return found | {"passed": report.passed, "delivered": report.counts.delivered, "fired": report.counts.fired}


name, other = sys.argv[1:]
print(json.dumps({"without": without(name), "refused": refused(name, other), "tested": tested(name)}))

# SPDX-License-Identifier: Apache-2.0
"""The machine that the devices are in: what is there, and what stands between a user and it."""

from vfio_ims.host.binder import Binder, Plan
from vfio_ims.host.candidates import Candidate, Survey, candidates, unseen
from vfio_ims.host.description import Description, describe, describe_live
from vfio_ims.host.machine import Machine
from vfio_ims.host.selection import Selection
from vfio_ims.host.state import State

__all__ = [
    "Binder",
    "Candidate",
    "Description",
    "Machine",
    "Plan",
    "Selection",
    "State",
    "Survey",
    "candidates",
    "describe",
    "describe_live",
    "unseen",
]

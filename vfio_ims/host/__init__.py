# SPDX-License-Identifier: Apache-2.0
"""The machine that the devices are in: what is there, and what stands between a user and it."""

from vfio_ims.host.candidates import Candidate, State, candidates
from vfio_ims.host.description import Description, describe, describe_live

__all__ = ["Candidate", "Description", "State", "candidates", "describe", "describe_live"]

# SPDX-License-Identifier: Apache-2.0
"""One run that proves a machine: from the doctor to a function that is as it was, with a report. It prints nothing."""

from vfio_ims.proof.footprint import Footprint
from vfio_ims.proof.report import STAGES, Outcome, Proof, Stage
from vfio_ims.proof.run import ProofInterrupted, prove

__all__ = ["STAGES", "Footprint", "Outcome", "Proof", "ProofInterrupted", "Stage", "prove"]

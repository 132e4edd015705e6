# SPDX-License-Identifier: Apache-2.0
"""The self-test as a library: fires every slot, reconciles every event, and returns a report. It prints nothing."""

from vfio_ims.selftest.characterise import characterise
from vfio_ims.selftest.characteristics import Characteristics, ControlWord, Survival, Trial
from vfio_ims.selftest.counts import Counts, Latency
from vfio_ims.selftest.findings import Finding, Kind
from vfio_ims.selftest.idle_check import check_idle
from vfio_ims.selftest.options import Options, Progress, ProgressSink
from vfio_ims.selftest.report import SCHEMA, Outcome, Report, Rung, Step
from vfio_ims.selftest.run import Interrupted, run, steps_of
from vfio_ims.selftest.slot_results import SlotColumn, SlotResult

__all__ = [
    "SCHEMA",
    "Characteristics",
    "ControlWord",
    "Counts",
    "Finding",
    "Interrupted",
    "Kind",
    "Latency",
    "Options",
    "Outcome",
    "Progress",
    "ProgressSink",
    "Report",
    "Rung",
    "SlotColumn",
    "SlotResult",
    "Step",
    "Survival",
    "Trial",
    "characterise",
    "check_idle",
    "run",
    "steps_of",
]

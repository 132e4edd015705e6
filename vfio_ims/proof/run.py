# SPDX-License-Identifier: Apache-2.0
"""The proof from the doctor to the function that is as it was."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from vfio_ims.host import Binder, Machine
from vfio_ims.host.selection import is_software, not_here
from vfio_ims.interruption import uninterrupted
from vfio_ims.proof.device_stages import DeviceStages
from vfio_ims.proof.host_stages import HostStages
from vfio_ims.proof.report import Proof
from vfio_ims.proof.stage_log import StageLog, Stop
from vfio_ims.selftest import Options, ProgressSink

if TYPE_CHECKING:
    from vfio_ims.device import Device
    from vfio_ims.driver import Driver

__all__ = ["ProofInterrupted", "prove"]


class ProofInterrupted(KeyboardInterrupt):
    """A proof was broken off by Ctrl-C. ``proof``: what ran until then, and how the machine was left."""

    def __init__(self, proof: Proof) -> None:
        super().__init__(f"interrupted in {proof.interrupted}")
        self.proof = proof


def prove(
    name: str,
    *,
    options: Options | None = None,
    siblings: bool = False,
    force: bool = False,
    state: Path | None = None,
    start: Callable[[Device], Driver] | None = None,
    on_stage: Callable[[str], None] | None = None,
    progress: ProgressSink | None = None,
    binder: Binder | None = None,
    machine: Machine | None = None,
) -> Proof:
    """Prove that this machine can use the device called ``name``, and leave the machine as it was.

    Doctor, bind, open, loopback, driver, own MSI-X, IMS self-test, DMA, reset, restore. What fails is in the report,
    not an error; only a name of nothing raises one (SetupError), and a name or an option that is wrong (UsageError).
    The function is bound to vfio-pci where it is not, and put back afterwards, also after Ctrl-C, which raises
    ProofInterrupted with the report. Opening resets the device.

    Args:
        name: a function of this machine, or any device name.
        options: the self-test's.
        siblings: members of its group that kernel drivers have are bound too.
        force: also what is in use.
        state: where the journal of bindings is.
        start: starts a driver, in place of the one of its family.
        on_stage: called with each stage's name as it begins.
        progress: called as the self-test calls it.
        binder: another than this machine's, for tests.
        machine: another than this one, for tests.
    """
    machine = machine or Machine()
    function = machine.function(name.partition(",")[0])
    if function is None and not is_software(name):
        raise not_here(name, "prove it", software=True)
    whole = name
    if function is not None:  # a kernel name stands for its function
        whole = ",".join((str(function.address), *name.split(",")[1:]))
    host = HostStages(machine, function, binder or Binder(machine, state=state), siblings=siblings, force=force)
    device = DeviceStages(whole, options or Options(), start, progress)
    log, began, interrupted = StageLog(on_stage), time.monotonic(), ""
    try:
        log.run("doctor", host.doctor, vital=True, host=True)
        log.run("bind", host.bind, vital=True, host=True)
        device.run(log)
    except Stop:
        pass
    except KeyboardInterrupt:
        interrupted = log.current
    finally:
        with uninterrupted(), suppress(Stop):
            log.run("restore", host.restore, host=True)
    took = time.monotonic() - began
    stages = tuple(log.stages())
    proof = Proof(name, stages, tuple(host.checks), device.report, host.before, host.after, interrupted, took)
    if interrupted:
        raise ProofInterrupted(proof)
    if log.misused is not None and not proof.left and not log.failed("restore"):
        raise log.misused
    return proof

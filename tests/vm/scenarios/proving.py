# SPDX-License-Identifier: Apache-2.0
"""A machine is proven over and over: to the end, broken off, with failures. Argument: an address.

Prints JSON: of each run the outcome of its stages, and what differed afterwards from before in this machine, looked at
by other means than the proof's own.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

from vfio_ims.device import Device
from vfio_ims.errors import DeviceError
from vfio_ims.host import Binder, Machine
from vfio_ims.host.writer import Writer
from vfio_ims.proof import Proof, ProofInterrupted, prove
from vfio_ims.selftest import Options, Progress

FEW = Options(timeout=20, slots=4, reset=False)


def text(place: Path) -> str:
    try:
        return place.read_text(errors="replace").strip()
    except OSError as error:
        return type(error).__name__


def machine_state(address: str) -> dict[str, str]:
    """Drivers and overrides of all functions, nodes, interrupts of VFIO, our own files, the function's config space."""
    found = {}
    for place in sorted(Path("/sys/bus/pci/devices").iterdir()):
        found[f"{place.name} driver"] = os.path.basename(os.path.realpath(place / "driver"))
        for name in ("driver_override", "sriov_numvfs", "power/control", "numa_node", "msi_irqs"):
            found[f"{place.name} {name}"] = (
                " ".join(sorted(os.listdir(place / name))) if (place / name).is_dir() else text(place / name)
            )
    found["nodes"] = " ".join(sorted(str(path) for path in Path("/dev/vfio").rglob("*")))
    found["interrupts"] = " ".join(
        line.split()[-1] for line in text(Path("/proc/interrupts")).splitlines() if "vfio" in line
    )
    run = Path("/run/vfio-ims")
    found["files"] = " ".join(sorted(str(path) for path in run.rglob("*.json"))) if run.exists() else ""
    found["config"] = Path(f"/sys/bus/pci/devices/{address}/config").read_bytes()[4:6].hex()
    targets = map(target_of, Path("/proc/self/fd").iterdir())
    found["open"] = " ".join(sorted(target for target in targets if "vfio" in target))
    return found


def target_of(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""


class Failing(Writer):
    """The kernel refuses the write of this number."""

    def __init__(self, machine: Machine, at: int) -> None:
        super().__init__(machine)
        self._at, self._count = at, 0

    def put(self, path: str, text: str) -> None:
        self._count += 1
        if self._count == self._at:
            raise OSError(16, "refused by the test", path)
        super().put(path, text)


def outcome(proof: Proof) -> dict[str, Any]:
    return {
        "verdict": proof.verdict,
        "stages": {stage.name: str(stage.outcome) for stage in proof.stages},
        "left": list(proof.left),
        "text": str(proof),
    }


def main(address: str) -> None:
    before = machine_state(address)
    found: dict[str, Any] = {}

    def run(name: str, **more: Any) -> None:
        try:
            said = outcome(prove(address, options=FEW, **more))
        except ProofInterrupted as interrupted:
            said = outcome(interrupted.proof)
        after = machine_state(address)
        both = {key: [before.get(key), after.get(key)] for key in before | after}
        said["differs"] = {key: pair for key, pair in both.items() if pair[0] != pair[1]}
        found[name] = said

    def breaking(stage: str) -> dict[str, Any]:
        def on_stage(name: str) -> None:
            if name == stage:
                os.kill(os.getpid(), signal.SIGINT)

        return {"on_stage": on_stage}

    def in_the_test(at: Progress) -> None:
        if at.step == "donor passes":
            os.kill(os.getpid(), signal.SIGINT)

    def no_start(device: Device) -> NoReturn:
        device.close()
        raise DeviceError("start", device=address, why="its firmware does not answer")

    run("whole")
    for stage in ("bind", "open", "reset"):  # all of them: tests/proof, with a kernel that is played
        run(f"interrupted in {stage}", **breaking(stage))
    run("interrupted in the middle of the self-test", progress=in_the_test)
    run("driver fails", start=no_start)
    run("a write fails", binder=Binder(writer=Failing(Machine(), 2)))
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])

# SPDX-License-Identifier: Apache-2.0
"""The DMA engine under a real kernel: Linux' own dw-edma drives our models, and our driver does over its VFIO."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.vm.lab import Guest
from tests.vm.pieces import need_vm
from tests.vm.platforms import INTEL
from tests.vm.served import SCENARIOS
from vfio_ims.drivers.synopsys_edma.hardware.registers import Common
from vfio_ims.drivers.synopsys_edma.model import EdmaModel
from vfio_ims.vfio_user import Server

MODELS: dict[str, dict[str, Any]] = {
    "unroll": {},
    "legacy": {"map": "legacy", "interrupts": "msi", "vectors": 1},
    "compatible": {"map": "hdma-compatible", "pace": 2000},
    "hdma": {"map": "hdma"},
}
COUNTS = (1, 83, 84, 85, 200)
"""Within one chunk of Linux' (2 KiB: 84), exactly one, a second started by the doorbell alone, a third."""

RUN = """
import sys
import pytest
names = sys.argv[1:]
named = [f"{name},iommu={interface}" for interface in ("iommufd", "type1") for name in names]
devices = [word for name in named for word in ("--vfio-device", name)]
options = ["-q", "-p", "no:cacheprovider", "--rootdir", "."]
sys.exit(pytest.main([*options, "tests/synopsys_edma/test_mounts.py", *devices]))
"""


class Foreign:
    """A guest whose kernel's dw-edma has the functions."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.models = {name: EdmaModel(name, **options) for name, options in MODELS.items()}
        sockets = []
        for name, model in self.models.items():
            stack.callback(model.close)
            sockets.append(stack.enter_context(Server(model, folder / name)).path)
        self.guest = stack.enter_context(Guest(INTEL, sockets, driver=None))
        self.address = dict(zip(self.models, self.guest.addresses, strict=True))

    def step(self, name: str, *words: str) -> Any:
        """One step of the scenario; what it found out."""
        done = self.guest.run([sys.executable, "-S", "-E", str(SCENARIOS / "edma.py"), name, *words], timeout=200)
        assert done.returncode == 0, str(done)
        return json.loads(done.stdout)

    def jobs(self, *jobs: str) -> Any:
        """The client's jobs, each FUNCTION's name first: all must be good."""
        words = []
        for job in jobs:
            name, _, rest = job.partition("/")
            words.append(f"{self.address[name]}/{rest}")
        facts = self.step("jobs", *words)
        assert set(facts["results"].values()) == {"ok"}, facts
        return facts


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Foreign]:
    need_vm()
    with ExitStack() as stack:
        yield Foreign(stack, tmp_path_factory.mktemp("edma"))


def test_linux_probes_every_map(foreign: Foreign) -> None:
    facts = foreign.step("probed", *foreign.address.values())
    for name, address in foreign.address.items():
        kind = "msi" if name == "legacy" else "msix"
        assert facts[address] == {"driver": "dw-edma-pcie", "kinds": [kind], "channels": 4}, foreign.guest.console


def test_linux_moves_lists_of_every_length(foreign: Foreign) -> None:
    """Both ways, every map: each byte is compared, and what lies between the pieces."""
    ways = [(way, channel) for way in ("write", "read") for channel in (0, 1)]
    for name in MODELS:
        wanted = [f"{name}/{way}/{channel}/sg/{count}/8" for way, channel in ways for count in COUNTS]
        facts = foreign.jobs(*wanted)
        came = facts["interrupts"][foreign.address[name]]
        print(f"{name}: {len(wanted)} lists, {came} interrupts, {facts['seconds']:.1f} s")
        assert came >= sum(-(-count // 84) for _ in ways for count in COUNTS)  # one a chunk


def test_linux_repeats_a_piece_and_gives_a_list_up(foreign: Foreign) -> None:
    foreign.jobs(
        *(f"{name}/{way}/0/cyclic/{count}/16" for name in MODELS for way in ("write", "read") for count in (1, 100))
    )
    foreign.jobs("compatible/write/0/terminate/100/16", "compatible/write/0/sg/85/8")


def test_linux_shows_the_registers_that_the_model_has(foreign: Foreign) -> None:
    shown = foreign.step("registers", *foreign.address.values())
    for name in ("unroll", "legacy"):
        files = shown[foreign.address[name]]
        assert len(files) > 60, sorted(files)
        assert int(files["wr_ch_cnt"], 0) == 2
        file = foreign.models[name].registers()
        control = next(value for path, value in files.items() if path.endswith("registers/ctrl"))
        assert int(control, 0) == file.get(Common.CONTROL)
        done = next(value for path, value in files.items() if path.endswith("write/done_imwr.lsb"))
        assert int(done, 0) == file.get(Common.WRITE_DONE_LOW) != 0


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """A guest whose functions are bound to vfio-pci: two with MSI-X, one with MSI alone."""
    need_vm()
    folder = tmp_path_factory.mktemp("ours")
    options = {"unroll": MODELS["unroll"], "hdma": MODELS["hdma"], "msi": {"interrupts": "msi", "vectors": 8}}
    with ExitStack() as stack:
        sockets = []
        for name, given in options.items():
            model = EdmaModel(name, **given)
            stack.callback(model.close)
            sockets.append(stack.enter_context(Server(model, folder / name)).path)
        yield stack.enter_context(Guest(INTEL, sockets))


def test_our_driver_over_the_kernels_vfio(ours: Guest) -> None:
    result = ours.run([sys.executable, "-c", RUN, *ours.addresses[:2]], timeout=400)
    assert result.returncode == 0, str(result)
    assert "skipped" not in result.stdout, str(result)


def test_donors_from_msi_whose_message_the_kernel_wrote(ours: Guest) -> None:
    """Eight interrupts through one address, which MSI-X messages of the same host cannot give."""
    _, other, function = ours.addresses
    result = ours.run([sys.executable, str(SCENARIOS / "msi_donors.py"), function, other], timeout=200)
    assert result.returncode == 0, str(result)
    facts = json.loads(result.stdout)
    assert f"let root open /sys/bus/pci/devices/{function}/config" in facts["without"]
    assert f"not config space of {function}" in facts["refused"]
    tested = facts["tested"]
    assert tested["passed"], tested["report"]
    assert tested["donors"] == 8
    assert "the messages of one MSI block share a VT-d handle: 8 interrupts" in tested["carried"]
    addresses, data = zip(*tested["messages"], strict=True)
    assert (len(set(addresses)), data) == (1, (0, 1, 2, 3))
    assert tested["delivered"] == tested["fired"] > 8

# SPDX-License-Identifier: Apache-2.0
"""Drivers written by others bring our DSA and IAA up: Linux' idxd and iaa_crypto, what builds on them, accel-config."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

import vfio_ims
from tests.vm.lab import Guest, Result
from tests.vm.pieces import find, need_vm
from tests.vm.platforms import INTEL_SCALABLE
from tests.vm.served import SCENARIOS
from vfio_ims.drivers.intel_idxd.driver import Idxd, accel_config
from vfio_ims.drivers.intel_idxd.driver.capabilities import Capabilities
from vfio_ims.drivers.intel_idxd.driver.configuration import Configuration
from vfio_ims.drivers.intel_idxd.hardware.registers import Bar0, ResetNeeded, State
from vfio_ims.drivers.intel_idxd.hardware.tables import QueueConfig
from vfio_ims.drivers.intel_idxd.model import DsaModel, IaaModel, IdxdModel
from vfio_ims.vfio_user import Server

DSA, IAA = "intel-dsa", "intel-iaa"
LATER = "intel-dsa,version=2,cmdcap=yes"  # event log, operations by queue, interrupt handles on request
LATEST = "intel-dsa,version=3"  # capabilities of its own, and a limit for scatter-gather lists
MODELS: dict[str, Callable[[], IdxdModel]] = {
    DSA: DsaModel,
    IAA: IaaModel,
    LATER: lambda: DsaModel(version=2, cmdcap=True),
    LATEST: lambda: DsaModel(version=3),
}
BOOTS = 4
HANDOVER = """
import sys
from vfio_ims.cli.main import cli
for words in sys.argv[1:]:
    try:
        cli(words.split(), prog_name="vfio-ims")
    except SystemExit as end:
        assert not end.code, (words, end.code)
"""


def found(done: Result) -> Any:
    assert done.returncode == 0, str(done)
    return json.loads(done.stdout)


class Foreign:
    """A guest whose kernel's own drivers have the functions. ``names``: what idxd calls them."""

    def __init__(self, stack: ExitStack, folder: Path, *models: str, nice: int = 0) -> None:
        self.tool = str(find().accel_config)
        self.model: dict[str, IdxdModel] = {}
        self.capabilities: dict[str, Capabilities] = {}
        sockets = []
        for number, name in enumerate(models):
            own = f"{'dsa' if 'dsa' in name else 'iax'}{number}"
            model = self.model[own] = MODELS[name]()
            stack.callback(model.close)
            sockets.append(stack.enter_context(Server(model, folder / own)).path)
            with vfio_ims.open_driver(f"mock:{name}") as driver:
                assert isinstance(driver, Idxd)
                self.capabilities[own] = driver.capabilities
        self.names = list(self.model)
        # In scalable mode idxd tags its work with a PASID.
        guest = Guest(INTEL_SCALABLE, sockets, driver=None, nice=nice, kernel_options=["setcpuid=movdir64b"])
        self.guest = stack.enter_context(guest)
        self.address = dict(zip(self.names, guest.addresses, strict=True))

    def run(self, name: str, *words: str) -> Result:
        """One step of the scenario."""
        return self.guest.run([sys.executable, "-S", "-E", str(SCENARIOS / "foreign.py"), name, *words])

    def step(self, name: str, *words: str) -> Any:
        """One step that must succeed; what it found out."""
        return found(self.run(name, *words))

    def file(self, name: str) -> str:
        """All queues of a function for the kernel's dmaengine, as our driver saves it; the file's name."""
        capabilities = self.capabilities[name]
        even = Configuration.even(capabilities)
        later = capabilities.queue.op_config
        common: dict[str, Any] = {
            "labels": (("type", "kernel"), ("driver_name", "dmaengine")),
            "operations": capabilities.operations if later else None,
            "max_transfer_shift": 21,  # idxd's default; the device's 31 is more than accel-config can save
        }
        queues = [replace(queue, name=f"copies{queue.index}", **common) for queue in even.queues]
        wanted = replace(even, queues=tuple(queues), event_log=128 if later else 0)
        path = self.guest.rwdir / f"{name}.json"
        path.write_text(accel_config.save(wanted, capabilities, name))
        return str(path)

    def load(self, text: str, name: str) -> Configuration:
        return accel_config.load(text, self.capabilities[name], name)


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Foreign]:
    need_vm()
    with ExitStack() as stack:
        yield Foreign(stack, tmp_path_factory.mktemp("foreign"), DSA, IAA, LATER, LATEST)


@contextmanager
def now_and_then(what: Callable[[], None], seconds: float) -> Iterator[list[float]]:
    """Do it every so many seconds, from another thread; yields when it was done."""
    ended, times = Event(), list[float]()

    def go() -> None:
        while not ended.wait(seconds):
            what()
            times.append(time.monotonic())

    thread = Thread(target=go)
    thread.start()
    try:
        yield times
    finally:
        ended.set()
        thread.join()


def test_linux_configures_and_copies_with_all_queues_while_handles_are_revoked(
    foreign: Foreign, monkeypatch: pytest.MonkeyPatch
) -> None:
    """accel-config loads what our driver saved; dmatest on all 32 queues; our driver loads what accel-config saves."""
    later = foreign.model["dsa2"]

    most, revoked, run, since = 0, 0, later.executor.run, 0

    def counted(*arguments: Any, **named: Any) -> Any:
        nonlocal since
        since += 1
        return run(*arguments, **named)

    monkeypatch.setattr(later.executor, "run", counted)

    def revoke() -> None:
        """Once Linux has had all its handles again for three copies a queue.

        It waits for ever for a drain whose handle is gone. A thread that waited for the queue to be back, and finds it
        stopped again when it runs, fails its submission (idxd_submit_desc, drivers/dma/idxd/submit.c).
        """
        nonlocal most, revoked, since
        with later.lock:
            now = later.handles.in_use
            if not 0 < now >= most:
                since = 0
            elif since >= 3 * 8:
                later.handles.revoke()
                revoked, since = revoked + 1, 0
            most = max(most, now)

    foreign.step("disable", foreign.tool, "iax1")  # iaa_crypto had it since the boot
    files = [foreign.file(name) for name in foreign.names]
    there = foreign.step("configure", foreign.tool, *files)
    for name, file in zip(foreign.names, files, strict=True):
        assert foreign.load(there["saved"], name) == foreign.load(Path(file).read_text(), name)
    for device in there["list"]:
        queues = [queue for group in device["groups"] for queue in group["grouped_workqueues"]]
        assert [device["state"], *(queue["state"] for queue in queues)] == 9 * ["enabled"]
    shown = foreign.step("show", *foreign.names)
    assert (shown["dsa0"]["version"], shown["dsa0"]["gen_cap"]) == ("0x100", "0x40915f0107")
    assert (shown["dsa2"]["version"], shown["dsa2"]["event_log_size"]) == ("0x200", "128")
    assert shown["dsa3"]["version"] == "0x300"
    assert shown["dsa3"]["dsacaps"] == "000000000000f18d,0014000e000007aa,00fa01ff01ff03ff"  # DSACAP2 to DSACAP0
    assert [name for name in foreign.names if "dsacaps" in shown[name]] == ["dsa3"]
    # The limit of scatter-gather lists, which idxd takes from DSACAP0 and writes into every queue's WQCFG.
    assert [row.get(QueueConfig.LIMITS).max_sgl_shift for row in foreign.model["dsa3"].state.queues] == 8 * [15]
    assert not any(row.get(QueueConfig.LIMITS).max_sgl_shift for row in later.state.queues)
    assert "No in-kernel DMA with PASID" not in there["log"]

    with now_and_then(revoke, 0.1):
        copied = foreign.step("copy", "60")
    print(copied["by"], f"{copied['a_second']:.0f} a second, handles revoked {revoked} times")
    assert revoked > 1
    for name, address in foreign.address.items():
        entry = copied["by"][address]
        failed = [line for line in copied["log"].splitlines() if name in line or "result #" in line]
        assert (entry["channels"], entry["copies"], entry["failures"]) == (8, 480, 0), (name, failed, copied["log"])
        assert entry["interrupts"] >= 480  # each channel has one copy in flight: no two share an interrupt
    assert {device["errors"] for device in foreign.step("show", *foreign.names).values()} == {
        ",".join(8 * ["00000000"])
    }
    assert set(foreign.step("disable", foreign.tool, *foreign.names).values()) == {"disabled"}


def test_linux_ends_a_halt_with_a_function_reset(foreign: Foreign) -> None:
    later = foreign.model["dsa2"]
    foreign.step("disable", foreign.tool, "dsa2")
    foreign.step("configure", foreign.tool, foreign.file("dsa2"))
    before = later.state.generation
    with later.lock:
        later.halt(ResetNeeded.FUNCTION)
    deadline = time.monotonic() + 20
    while later.state.generation == before or later.registers().get(Bar0.GENSTS).state != State.ENABLED:
        assert time.monotonic() < deadline, foreign.guest.console
        time.sleep(0.05)
    assert foreign.step("show", "dsa2")["dsa2"]["state"] == "enabled"
    assert [row.get(QueueConfig.SIZE).entries for row in later.state.queues] == 8 * [16]
    # The device and its configuration are back. Queues of the kernel's own it does not bring back, and says so.
    assert "unable to re-enable wq" in foreign.guest.console
    foreign.step("disable", foreign.tool, "dsa2")


def test_the_device_says_what_is_wrong_with_a_configuration(foreign: Foreign) -> None:
    foreign.step("disable", foreign.tool, "dsa0")
    facts = foreign.step("refuse", foreign.tool, "dsa0")
    assert "Invalid group config: lack of wq or engines" in facts["said"]
    assert (facts["status"], facts["state"], facts["cmd_status"]) == (1, "disabled", "0x15")


def test_from_idxd_to_our_driver_and_back(foreign: Foreign) -> None:
    address = foreign.address["dsa0"]
    foreign.step("disable", foreign.tool, "dsa0")
    words = f"bind {address}", f"selftest {address} --slots 16", f"restore {address}"
    done = foreign.guest.run([sys.executable, "-c", HANDOVER, *words])
    print(done.stdout)
    assert done.returncode == 0, str(done)
    foreign.step("configure", foreign.tool, foreign.file("dsa0"))
    copied = foreign.step("copy", "10")
    entry = copied["by"][address]
    assert (entry["channels"], entry["copies"], entry["failures"]) == (8, 80, 0), copied["log"]


def test_linux_swaps_through_iaa(tmp_path: Path) -> None:
    """iaa_crypto takes IAA at boot, and the kernel's own vectors pass. Then zswap: real pages, every byte.

    iaa_crypto looks a million times whether it is done, which takes an emulated processor 0.15 s. On a busy host the
    model may have to wait that long: so the guest is not to outrun it, and one that has done so is given up.
    """
    need_vm()
    pages, noise = 48, 8
    for boot in range(BOOTS):
        with ExitStack() as stack:
            folder = tmp_path / str(boot)
            folder.mkdir()
            foreign = Foreign(stack, folder, IAA, nice=19)
            done = foreign.run("swap", str(pages))
            log = foreign.guest.run(["dmesg"]).stdout
        if "completion timed out" not in log:
            break
    facts = found(done)
    print({name: facts[name] for name in ("pages_a_second", "tested", "done")}, f"in boot {boot}")
    assert facts["algorithm"]["selftest"] == "passed", log
    assert facts["right"]
    tested, after = facts["tested"], facts["done"]
    assert min(tested["total_comp_calls"], tested["total_decomp_calls"]) >= 2
    assert facts["out"]["stored_pages"] == pages
    assert facts["out"]["stored_incompressible_pages"] == noise
    assert facts["out"]["reject_compress_fail"] == facts["in"]["decompress_fail"] == 0
    assert after["total_comp_calls"] - tested["total_comp_calls"] == pages
    assert after["total_decomp_calls"] - tested["total_decomp_calls"] == pages - noise
    assert after["total_completion_comp_buf_overflow_errors"] == noise
    assert after["total_completion_einval_errors"] == after["total_completion_timeout_errors"] == 0
    assert after["total_sw_comp_calls"] == after["total_sw_decomp_calls"] == 0, "the device did it, not zlib"

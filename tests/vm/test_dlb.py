# SPDX-License-Identifier: Apache-2.0
"""The DLB under a real kernel: DPDK's event/dlb2 drives our models over vfio-pci, with DPDK's own tests.

Three of its programs run, and each stores 1000 times to every port first. All tests of both versions, with more events,
run with VFIO_IMS_FULL=1 (.ci/nightly).
"""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.vm.lab import Guest, Result
from tests.vm.pieces import find, need_vm
from tests.vm.platforms import INTEL
from vfio_ims.drivers.intel_dlb.hardware.elements import ELEMENT_SIZE, Command
from vfio_ims.drivers.intel_dlb.model import Dlb20Model, DlbModel
from vfio_ims.vfio_user import Server

CASES = [
    "Stop Flush",
    "Single Link",
    "Info Get",
    "Reconfiguration Link",
    "Load-Balanced Traffic",
    "Directed Traffic",
    "Deferred Scheduling",
    "Delayed Pop",
]
VERSIONS = ["2.5", "2.0"]
PROBED = 1000
"""Stores to each port, none of which is on yet: the driver measures which ports are near."""
FULL = os.environ.get("VFIO_IMS_FULL") == "1"
EVENTS = 20_000 if FULL else 1000

OURS = """
import sys
import pytest
names = [f"{name},iommu={interface}" for interface in ("iommufd", "type1") for name in sys.argv[1:]]
devices = [word for name in names for word in ("--vfio-device", name)]
plugins = [word for name in ("no:cacheprovider", "pytest_timeout", "vfio_ims.testing.plugin") for word in ("-p", name)]
options = ["-q", "--durations=6", "--rootdir=.", *plugins, "-k", "iommufd or tasks_share_a_queue"]
sys.exit(pytest.main([*options, "tests/intel_dlb/test_mounts.py", *devices]))
"""
STORES = """
import ctypes, mmap, sys
area = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
area.write(bytes.fromhex(sys.argv[1]))
call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(ctypes.addressof(ctypes.c_char.from_buffer(area)))
source, target = bytearray(128), bytearray(256)
line = -ctypes.addressof(ctypes.c_char.from_buffer(target)) % 64
at = ctypes.addressof(ctypes.c_char.from_buffer(target, line))
for first in 1, 101:
    source[:] = bytes(range(first, first + 128))
    call(at, ctypes.addressof(ctypes.c_char.from_buffer(source)))
    print(target[line], len(bytes(target).strip(bytes(1))), target[line:line + 64] in source)
"""
FORMS = {
    "to rax from rdx": ("4889f8 4889f2 660f38f802 c3", 0),
    "to r9 from r10 + 64": ("4989f9 4989f2 66450f38f84a40 c3", 64),
    "to rax from rdx + 32, far": ("4889f8 4889f2 660f38f88220000000 c3", 32),
}


class Watched(DlbModel):
    """Counts the bytes stored to its producer ports, the commands to those that are on, and what it raises."""

    def __init__(self) -> None:
        self.bytes, self.commands, self.raised = 0, Counter[int](), 0
        super().__init__()
        self.count = len(self.core.ports) + len(self.core.directed)
        self._store, self.core.store = self.core.store, self._counted  # type: ignore[method-assign]

    def _counted(self, port: Any, line: bytes) -> None:
        self._store(port, line)
        if port.valid:
            self.commands.update(line[at] & 0xF for at in range(ELEMENT_SIZE - 1, len(line), ELEMENT_SIZE))

    def write(self, region: int, offset: int, data: bytes) -> None:
        if region == 0:
            self.bytes += len(data)
        super().write(region, offset, data)

    def raise_vector(self, vector: int) -> None:
        self.raised += 1
        super().raise_vector(vector)

    def since(self) -> tuple[int, Counter[int]]:
        """Stores and commands since the last call. Nothing was raised: no alarms, and the driver polls."""
        assert not self.raised
        seen = self.bytes // 64, self.commands
        self.bytes, self.commands = 0, Counter[int]()
        print(f"{self.id}: {seen[0]} stores,", {Command(code).name: count for code, count in sorted(seen[1].items())})
        return seen


class Watched20(Watched, Dlb20Model):
    """The same of a DLB 2.0."""


class Dpdk:
    """A guest with a DLB 2.5 and a DLB 2.0, bound to vfio-pci."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.models = {"2.5": Watched(), "2.0": Watched20()}
        self.servers = []
        for name, model in self.models.items():
            stack.callback(model.close)
            self.servers.append(stack.enter_context(Server(model, folder / name)))
        self.guest = stack.enter_context(Guest(INTEL, [server.path for server in self.servers]))
        self.address = dict(zip(self.models, self.guest.addresses, strict=True))
        self.guest.run(["sh", "-c", "echo 64 > /proc/sys/vm/nr_hugepages"])

    def run(
        self, program: str, name: str, *words: str, stdin: str = "", timeout: float = 120
    ) -> tuple[Result, Counter[int]]:
        """A program of DPDK's that has the function ``name``, with four threads on two processors; its commands."""
        common = ["--in-memory", "--no-telemetry", "--lcores", "0@0,1@0,2@1,3@1", "-a", self.address[name]]
        command = [str(find().dpdk), program, *common, *words]
        done = self.guest.run(["sh", "-c", 'echo "$0" | "$@"', stdin, *command], timeout=timeout)
        assert done.returncode == 0, str(done)
        print(f"{program}: {done.seconds:.1f} s")
        assert not [fault for server in self.servers for fault in server.faults], str(done)
        model = self.models[name]
        stores, commands = model.since()
        assert stores > PROBED * model.count
        return done, commands

    def eventdev(self, name: str, test: str, *words: str) -> tuple[str, Counter[int]]:
        """One of dpdk-test-eventdev's tests, with a producer and two workers: what it says, without colours."""
        chosen = [f"--test={test}", "--plcores=1", "--wlcores=2,3", f"--nb_pkts={EVENTS}", "--pool_sz=1024"]
        done, commands = self.run("dpdk-test-eventdev", name, "--", *chosen, *words)
        said = re.sub(r"\x1b\[\d+m", "", done.stdout)
        assert "Result: Success" in said, str(done)
        assert "error:" not in done.stderr, str(done)  # it finds a wrong order, and calls that a success
        return said, commands


@pytest.fixture(scope="module")
def dpdk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dpdk]:
    need_vm()
    with ExitStack() as stack:
        yield Dpdk(stack, tmp_path_factory.mktemp("dlb"))


def test_a_64_byte_store_that_the_processor_lacks(dpdk: Dpdk) -> None:
    """Preloaded, what DPDK submits with works, at first and once replaced; other illegal code ends the program."""
    library = str(find().dpdk.parent / "movdir64b_user.so")

    def run(code: str, preload: str = library) -> tuple[int, str]:
        done = dpdk.guest.run([sys.executable, "-S", "-E", "-c", STORES, code], env={"LD_PRELOAD": preload})
        return done.returncode, done.stdout

    for name, (code, offset) in FORMS.items():
        assert run(code) == (0, "".join(f"{first + offset} 64 True\n" for first in (1, 101))), name
    plain, *_ = FORMS.values()
    assert run(plain[0], preload="")[0] == 128 + 4, "the processor has it: this proves nothing"
    assert run("0f0b c3")[0] == 128 + 4


@pytest.mark.parametrize("name", VERSIONS if FULL else ["2.5"])
def test_dpdk_probes_it_and_passes_its_self_test(dpdk: Dpdk, name: str) -> None:
    driver = {"2.5": "event_dlb2_5_pf", "2.0": "event_dlb2_pf"}[name]
    done, commands = dpdk.run("dpdk-test", name, stdin="eventdev_selftest_dlb2")
    assert re.findall(r"\*\*\* Running (.*) test\.\.\.", done.stdout) == CASES, str(done)
    assert f"Selftest passed for eventdev {driver}" in done.stdout, str(done)
    assert "Ran selftest on 1 eventdevs, 0 skipped, 1 passed, 0 failed" in done.stdout, str(done)
    assert commands[Command.NEW] > 2 * 33 + 128 + 64  # of the cases that send many


@pytest.mark.parametrize("name", VERSIONS if FULL else ["2.5"])
def test_dpdk_sees_every_flow_in_order(dpdk: Dpdk, name: str) -> None:
    """From an ordered queue, by two workers, to an atomic one: each flow's numbers come as they were given."""
    _, commands = dpdk.eventdev(name, "order_queue", "--nb_flows=1024")
    for command in (Command.NEW, Command.FORWARD, Command.COMPLETE):
        assert commands[command] == EVENTS


@pytest.mark.parametrize("name", VERSIONS if FULL else ["2.0"])
def test_dpdk_measures_two_atomic_stages(dpdk: Dpdk, name: str) -> None:
    """Both workers have a share of what the first stage forwards to the second."""
    said, commands = dpdk.eventdev(name, "perf_queue", "--stlist=a,a")
    shares = [int(count, 16) for count in re.findall(r"Worker \d packets: (\w+)", said)]
    assert len(shares) == 2
    assert all(shares)
    # It stops once so many have left the second stage: a few more may be under way.
    assert commands[Command.NEW] >= commands[Command.FORWARD] >= commands[Command.COMPLETE] >= EVENTS


def test_our_driver_over_the_kernels_vfio(dpdk: Dpdk) -> None:
    """Self-test, order, full domains by iommufd; tasks that wait for interrupts by a type1 container, too."""
    alone = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # plug-ins are slow to import under emulation
    result = dpdk.guest.run([sys.executable, "-c", OURS, *dpdk.address.values()], env=alone, timeout=400)
    print(result.stdout)
    assert result.returncode == 0, str(result)
    assert "10 passed" in result.stdout, result

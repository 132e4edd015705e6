# SPDX-License-Identifier: Apache-2.0
"""The lab keeps its promises: each platform is what it says, and commands, files and failures come back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vm import lab
from tests.vm.lab import REPO, Guest, GuestDied, GuestTimeout, LabError
from tests.vm.pieces import PROVISION, need_vm
from tests.vm.platforms import INTEL, PLATFORMS, Platform

EDU = {"driver": "edu"}
PROBE = """
import array, fcntl, glob, json, os, sys
function = os.environ["VFIO_IMS_VM_FUNCTIONS"].split()[0]
device = f"/sys/bus/pci/devices/{function}"
group = os.path.basename(os.readlink(f"{device}/iommu_group"))
chips = {open(path).read().strip() for path in glob.glob("/sys/kernel/irq/*/chip_name")}

def call(fd, number, *words):
    buffer = array.array("I", words)
    fcntl.ioctl(fd, 0x3B00 + number, buffer)
    return buffer

# The kernel itself refuses these attaches where interrupts are not safe, unless configured otherwise.
container, member = os.open("/dev/vfio/vfio", os.O_RDWR), os.open(f"/dev/vfio/{group}", os.O_RDWR)
call(member, 104, container)  # VFIO_GROUP_SET_CONTAINER
fcntl.ioctl(container, 0x3B00 + 102, 1)  # VFIO_SET_IOMMU: type 1
os.close(member)
os.close(container)
iommufd, device_fd = os.open("/dev/iommu", os.O_RDWR), os.open("/dev/vfio/devices/vfio0", os.O_RDWR)
call(device_fd, 118, 16, 0, iommufd, 0)  # VFIO_DEVICE_BIND_IOMMUFD
call(device_fd, 119, 12, 0, call(iommufd, 0x81, 12, 0, 0)[2])  # VFIO_DEVICE_ATTACH_IOMMUFD_PT of a new IOAS
os.close(device_fd)

print(json.dumps({
    "nodes": [path for path in ("/dev/vfio/vfio", "/dev/iommu", f"/dev/vfio/{group}", "/dev/vfio/devices/vfio0")
              if os.path.exists(path)],
    "driver": os.path.basename(os.readlink(f"{device}/driver")),
    "config": os.path.getsize(f"{device}/config"),
    "iommus": len(os.listdir("/sys/class/iommu")),
    "chips": sorted(chips),
    "python": sys.executable,
}))
"""


@pytest.fixture(scope="module", autouse=True)
def _provisioned() -> None:
    need_vm()


@pytest.fixture(scope="module")
def guest() -> Iterator[Guest]:
    with Guest(INTEL, [EDU, {"driver": "pci-testdev"}]) as booted:
        yield booted


@pytest.mark.parametrize("platform", PLATFORMS.values(), ids=PLATFORMS)
def test_a_platform_is_what_it_says(platform: Platform) -> None:
    with Guest(platform, [EDU]) as booted:
        result = booted.run([sys.executable, "-S", "-c", PROBE])
    assert result.returncode == 0, str(result)
    seen = json.loads(result.stdout)
    assert len(seen["nodes"]) == 4
    assert seen["driver"] == "vfio-pci"
    assert seen["iommus"] == 1
    assert platform.chip in {chip.partition("-0000:")[0] for chip in seen["chips"]}
    assert platform.remaps == any(chip.startswith("IR-PCI") for chip in seen["chips"])
    assert seen["python"] == sys.executable


@pytest.mark.parametrize("status", [0, 3])
def test_the_exit_status_comes_back(guest: Guest, status: int) -> None:
    result = guest.run(["sh", "-c", f"echo out; echo err >&2; exit {status}"])
    assert (result.returncode, result.stdout, result.stderr) == (status, "out\n", "err\n")


def test_a_signal_comes_back_as_a_shell_reports_it(guest: Guest) -> None:
    assert guest.run(["sh", "-c", "kill -9 $$"]).returncode == 137


def test_a_command_that_is_not_there(guest: Guest) -> None:
    result = guest.run(["no-such-command"])
    assert result.returncode == 127
    assert "no-such-command" in result.stderr


def test_output_is_neither_lost_nor_mixed(guest: Guest) -> None:
    result = guest.run(["sh", "-c", "seq 50000; seq 3 >/dev/stderr; printf '\\303\\244\\377'"])
    assert result.stdout == "".join(f"{n}\n" for n in range(1, 50001)) + "ä\ufffd"
    assert result.stderr == "1\n2\n3\n"


def test_the_environment_tells_where_we_are(guest: Guest) -> None:
    script = 'echo "$VFIO_IMS_VM $VFIO_IMS_VM_PLATFORM $VFIO_IMS_VM_FUNCTIONS $OWN"; pwd'
    result = guest.run(["sh", "-c", script], env={"OWN": "a b"})
    assert result.stdout == f"1 intel 0000:00:10.0 0000:00:11.0 a b\n{REPO}\n"


def test_the_guest_sees_the_repository(guest: Guest) -> None:
    result = guest.run(["sha256sum", __file__])
    assert result.stdout == subprocess.run(["sha256sum", __file__], capture_output=True, text=True, check=True).stdout


def test_files_in_the_shared_folder_go_both_ways(guest: Guest) -> None:
    (guest.rwdir / "question").write_text("6 * 7\n")
    assert guest.run(["sh", "-c", 'cd "$VFIO_IMS_VM_RWDIR" && tr 6 7 <question >answer']).returncode == 0
    assert (guest.rwdir / "answer").read_text() == "7 * 7\n"


def test_what_the_guest_writes_elsewhere_stays_there(guest: Guest) -> None:
    assert guest.run(["sh", "-c", "echo mine >/tmp/vfio-ims-test-lab && cat /tmp/vfio-ims-test-lab"]).stdout == "mine\n"
    assert not Path("/tmp/vfio-ims-test-lab").exists()
    assert guest.run(["touch", "/usr/lib/vfio-ims-test-lab"]).returncode != 0


def test_a_command_out_of_time_ends_its_guest() -> None:
    booted = Guest(INTEL)
    started = time.monotonic()
    with pytest.raises(GuestTimeout, match=r"(?s)sleep 1000.*--- stdout\nbefore"):
        booted.run(["sh", "-c", "echo before; echo '<1>a kernel line' >/dev/kmsg; sleep 1000"], timeout=2)
    assert time.monotonic() - started < 60  # not the 1000 it would have slept
    with pytest.raises(GuestDied):
        booted.run(["true"])
    booted.close()


def test_a_command_may_take_long_while_it_prints_and_ends_when_it_prints_nothing() -> None:
    with Guest(INTEL) as booted:
        assert booted.run(["sh", "-c", "for i in 1 2 3 4; do echo $i; sleep 1; done"], idle=3).stdout.split()[-1] == "4"
        with pytest.raises(GuestTimeout, match=r"(?s)sleep 1000.*--- stdout\nbefore"):
            booted.run(["sh", "-c", "echo before; sleep 1000"], timeout=600, idle=3)


def test_a_kernel_panic_is_reported_with_the_console() -> None:
    with Guest(INTEL) as booted, pytest.raises(GuestDied, match=r"(?s)--- console.*sysrq triggered crash"):
        booted.run(["sh", "-c", "echo c >/proc/sysrq-trigger; sleep 60"])


def test_a_function_that_vfio_does_not_take_is_an_error() -> None:
    # A host bridge has its driver_override like every function, but no normal header, and vfio-pci declines.
    with pytest.raises(LabError, match=r"0000:00:10\.0: vfio-pci did not take it"):
        Guest(INTEL, [{"driver": "pci-bridge", "chassis_nr": 1}])


def test_a_complaint_of_qemu_is_in_the_error() -> None:
    with pytest.raises(GuestDied, match="no-such-device"):
        Guest(INTEL, [{"driver": "no-such-device"}])


def test_a_boot_that_hangs_is_repeated_once_and_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    wire, stopped = lab.qemu.wire, [["-S"], []]  # -S: QEMU does not start its processors

    def first_stopped(descriptor: int) -> list[str]:
        monkeypatch.setattr(lab, "BOOT_TIMEOUT", 1.0 if len(stopped) == 2 else 60.0)
        return [*wire(descriptor), *stopped.pop(0)]

    reports: list[str] = []
    monkeypatch.setattr(lab, "HUNG_BOOTS", reports)
    monkeypatch.setattr(lab.qemu, "wire", first_stopped)
    with Guest(INTEL) as booted:
        assert booted.run(["true"]).returncode == 0
    assert len(reports) == 1
    assert "no end in time of the boot" in reports[0]


def test_provisioning_again_takes_no_time() -> None:
    started = time.monotonic()
    subprocess.run(["bash", str(PROVISION)], check=True, capture_output=True)
    assert time.monotonic() - started < 1


def test_nothing_is_left_when_the_lab_is_killed(tmp_path: Path) -> None:
    script = f"""
import os, sys
sys.path.insert(0, {str(REPO)!r})
from tests.vm.lab import Guest
from tests.vm.platforms import INTEL
guest = Guest(INTEL, rwdir={str(tmp_path / "mark")!r})
os.kill(os.getpid(), 9)
"""
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    assert subprocess.run([sys.executable, "-c", script], env=environment, check=False).returncode == -9
    mark = str(tmp_path / "mark").encode()
    deadline = time.monotonic() + 60
    while any(mark in command for command in _commands()):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _commands() -> Iterator[bytes]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes()
        except OSError:
            continue

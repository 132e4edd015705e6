# SPDX-License-Identifier: Apache-2.0
"""One owner a device: the second one is shown who the first is, and the lock ends with its holder."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.host.box import DSA, Box
from vfio_ims.backends.kernel import refusals as kernel_refusals
from vfio_ims.backends.kernel.claim import claim, claimed_by, unseen
from vfio_ims.errors import DeviceBusy
from vfio_ims.host import State, candidates
from vfio_ims.host.doctor import diagnose
from vfio_ims.pci import PciAddress
from vfio_ims.sysfs import Function

HOLD = """
import sys
from pathlib import Path
from vfio_ims.backends.kernel.claim import claim
held = claim(sys.argv[1], Path(sys.argv[2]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def dev(box: Box) -> Path:
    (box.root / "run/lock").mkdir(parents=True)
    return box.root / "dev"


@pytest.fixture
def holder(dev: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the device."""
    command = [sys.executable, "-c", HOLD, DSA, str(dev)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_second_owner_is_shown_who_the_first_is(holder: subprocess.Popen[str], dev: Path) -> None:
    with pytest.raises(DeviceBusy) as refused:
        claim(DSA, dev)
    assert f"process {holder.pid} (python" in str(refused.value)
    assert f"kill {holder.pid}" in refused.value.hint
    assert claimed_by(DSA, dev) is not None
    assert claimed_by("0000:00:00.0", dev) is None


def test_it_ends_with_its_holder_however_that_ends(holder: subprocess.Popen[str], dev: Path) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert claimed_by(DSA, dev) is None
    held = claim(DSA, dev)
    assert held is not None
    held.close()
    again = claim(DSA, dev)
    assert again is not None
    again.close()


def test_list_and_doctor_name_the_owner(holder: subprocess.Popen[str], dev: Path, box: Box) -> None:
    box.healthy()
    (found,) = candidates(box.machine)
    assert found.state == State.IN_USE
    assert f"process {holder.pid} (python" in found.why
    free = next(one for one in diagnose(box.machine, found.function) if one.check == "free")
    assert free.failed
    assert f"kill {holder.pid}" in free.fix


def test_what_an_earlier_holder_wrote_is_not_believed(holder: subprocess.Popen[str], dev: Path) -> None:
    place = dev.parent / f"run/lock/vfio-ims-{DSA}.lock"
    place.write_text(json.dumps({"pid": os.getpid(), "started": 1, "name": "another"}))
    assert str(holder.pid) in str(claimed_by(DSA, dev))  # from the kernel's list of locks
    place.write_text("garbage")
    assert str(holder.pid) in str(claimed_by(DSA, dev))


def test_looking_never_makes_a_claim_fail(dev: Path) -> None:
    """Three look as fast as they can while one claims and gives up: each claim of a free function succeeds."""
    stop = threading.Event()
    seen = set()

    def look() -> None:
        while not stop.is_set():
            seen.add(claimed_by(DSA, dev) is not None)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(2000):
            held = claim(DSA, dev)
            assert held is not None
            held.close()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert True in seen


def anothers_process() -> int:
    """A process that is not this user's; as root, process 1, whose file is made nobody's."""
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.geteuid() == 0 or place.stat().st_uid != os.geteuid():
                return int(place.name) if os.geteuid() else 1
    pytest.skip("every process here is this user's (a container?): run it where others have some, or as root")


def test_a_users_file_names_only_processes_of_that_user(dev: Path, holder: subprocess.Popen[str]) -> None:
    """Any user may put the file there, say that another's process has the device, and call it what they like."""
    place, other = dev.parent / f"run/lock/vfio-ims-{DSA}.lock", anothers_process()
    started = int(Path(f"/proc/{other}/stat").read_text().rpartition(")")[2].split()[19])
    place.write_text(json.dumps({"pid": other, "started": started, "name": "\x1b[2Jinit"}))
    if os.geteuid() == 0:
        os.chown(place, 65534, 65534)
    assert str(claimed_by(DSA, dev)).startswith(f"process {holder.pid} (python")
    with pytest.raises(DeviceBusy) as refused:
        claim(DSA, dev)
    assert f"kill {holder.pid})" in refused.value.hint
    assert "\x1b" not in str(refused.value)


@pytest.mark.parametrize(
    "text", ["[" * 4096, '{"pid": "1", "started": 0}', '{"pid": 1e999}', '{"pid": -1}', "[]", "\xff"]
)
def test_whatever_the_file_says(dev: Path, holder: subprocess.Popen[str], text: str) -> None:
    (dev.parent / f"run/lock/vfio-ims-{DSA}.lock").write_text(text)
    assert str(claimed_by(DSA, dev)).startswith(f"process {holder.pid} (python")


def test_a_process_cannot_write_to_the_terminal_by_its_name(dev: Path) -> None:
    named = HOLD.replace("import sys\n", "import sys\nopen('/proc/self/comm', 'w').write('\\x1b[2Jx\\x07')\n", 1)
    with subprocess.Popen(
        [sys.executable, "-c", named, DSA, str(dev)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        owner = str(claimed_by(DSA, dev))
        process.kill()
    assert owner == rf"process {process.pid} (\x1b[2Jx\x07)"


def test_a_pipe_in_the_place_of_the_lock_stops_no_open(dev: Path) -> None:
    os.mkfifo(dev.parent / f"run/lock/vfio-ims-{DSA}.lock")
    program = (
        "import sys; from pathlib import Path; from vfio_ims.backends.kernel.claim import claim, claimed_by\n"
        f"print(claimed_by('{DSA}', Path(sys.argv[1])), claim('{DSA}', Path(sys.argv[1])))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(dev)], capture_output=True, text=True, timeout=60)
    assert done.stdout == "None None\n", done.stderr


def test_another_name_of_a_file_is_not_written_to(dev: Path) -> None:
    victim = dev.parent / "victim"
    victim.write_text("precious")
    os.link(victim, dev.parent / f"run/lock/vfio-ims-{DSA}.lock")
    assert claim(DSA, dev) is None
    assert victim.read_text() == "precious"


def test_a_lock_that_cannot_be_put_anywhere_stops_no_open(box: Box) -> None:
    assert claim(DSA, box.root / "dev") is None


def test_a_link_is_not_followed(dev: Path) -> None:
    victim = dev.parent / "victim"
    victim.write_text("precious")
    (dev.parent / f"run/lock/vfio-ims-{DSA}.lock").symlink_to(victim)
    assert claim(DSA, dev) is None
    assert victim.read_text() == "precious"


def test_a_fork_does_not_give_it_up(dev: Path) -> None:
    held = claim(DSA, dev)
    assert held is not None
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    with pytest.raises(DeviceBusy):
        claim(DSA, dev)
    held.close()


def test_where_the_shared_place_cannot_be_written_to_root_still_sees_every_users_lock(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    dev = box.root / "dev"
    (box.root / "run/user/1000").mkdir(parents=True)  # no run/lock: no user can put a lock there
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    held = claim(DSA, dev)
    assert held is not None
    assert (box.root / f"run/user/1000/vfio-ims-{DSA}.lock").exists()
    with pytest.raises(DeviceBusy, match=f"process {os.getpid()} "):
        claim(DSA, dev)
    assert "so its lock is its own, and another user's holder has no name here" in unseen(dev)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(DeviceBusy, match=f"process {os.getpid()} "):
        claim(DSA, dev)
    assert str(os.getpid()) in str(claimed_by(DSA, dev))
    assert unseen(dev) == ""
    held.close()
    assert claimed_by(DSA, dev) is None


def test_who_cannot_see_other_users_locks_is_shown_so_when_the_kernel_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    function = Function(PciAddress.parse(DSA))
    monkeypatch.setattr(kernel_refusals, "unseen", lambda: "this user cannot write to /run/lock, so")
    refused = kernel_refusals.node_refused(errno.EBUSY, Path("/dev/vfio/7"), function)
    assert isinstance(refused, DeviceBusy)
    assert "(this user cannot write to /run/lock, so)" in refused.why
    assert "sudo fuser -v" in refused.hint

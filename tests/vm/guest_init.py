# SPDX-License-Identifier: Apache-2.0
"""The guest's first process: makes the root file system habitable, starts the agent, reaps, powers off.

Python from the start, because under emulation every further program costs tens of milliseconds. Standard library only.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import agent  # type: ignore[import-not-found,unused-ignore]  # beside this file, which runs as a script

MS_NOSUID, MS_NODEV = 2, 4
LINUX_REBOOT_CMD_POWER_OFF = 0x4321FEDC

# The root is the host's and read-only. What programs must be able to write is laid over it, and lost at power-off.
LAID_OVER = ("/etc", "/root", "/tmp", "/var")

libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str, flags: int = 0, options: str = "") -> None:
    if libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode()):
        number = ctypes.get_errno()
        print(f"guest: cannot mount {kind} on {target}: {os.strerror(number)}", flush=True)


def furnish(environment: Mapping[str, str]) -> None:
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV)
    mount("sys", "/sys", "sysfs", MS_NOSUID | MS_NODEV)
    mount("debug", "/sys/kernel/debug", "debugfs")
    mount("cgroup", "/sys/fs/cgroup", "cgroup2")
    for name in ("pts", "shm"):
        Path("/dev", name).mkdir(exist_ok=True)
    mount("devpts", "/dev/pts", "devpts", options="mode=620,ptmxmode=666")
    for link, to in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        Path("/dev", link).symlink_to(f"/proc/self/fd{to}")
    mount("shm", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    mount("run", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    Path("/run/lock").mkdir()
    Path("/run/lock").chmod(0o1777)
    for place in filter(os.path.isdir, LAID_OVER):
        upper, work = (f"/run/over{place}/{part}" for part in ("upper", "work"))
        os.makedirs(upper)
        os.makedirs(work)
        shutil.copymode(place, upper)
        mount("over", place, "overlay", options=f"lowerdir={place},upperdir={upper},workdir={work}")
    rwdir = environment["LAB_RWDIR"]
    os.makedirs(rwdir, exist_ok=True)
    mount("rwdir", rwdir, "9p", options="trans=virtio,version=9p2000.L,msize=262144,cache=none")


def start_udev(daemon: str) -> None:
    """The host's own udevd and rules, for who wants real node names and permissions; it takes some seconds."""
    subprocess.run([daemon, "--daemon"], check=False)
    subprocess.run(["udevadm", "trigger", "--type=all", "--action=add", "--prioritized-subsystem=pci"], check=False)
    subprocess.run(["udevadm", "settle"], check=False)


def main() -> None:
    furnish(os.environ)
    # Booted: from here on only warnings. Until here every message, so that a boot that hangs shows where.
    Path("/proc/sys/kernel/printk").write_text("5")
    if daemon := os.environ.get("LAB_UDEVD"):
        start_udev(daemon)
    child = os.fork()
    if child == 0:
        os.setsid()
        agent.main(os.environ["LAB_DRIVER"], os.environ.get("LAB_FUNCTIONS", "").split(","))
        os._exit(0)
    # Everything orphaned in the guest becomes our child; the agent's end is the end of the guest.
    while os.wait()[0] != child:
        pass
    sys.stdout.flush()
    libc.reboot(LINUX_REBOOT_CMD_POWER_OFF)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""The machine that is looked at: this one, a tree built by a test, or one that a report was made of."""

from __future__ import annotations

import grp
import os
import pwd
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from vfio_ims.pci import PciAddress
from vfio_ims.printable import printable
from vfio_ims.sysfs import Function, find, functions
from vfio_ims.sysfs.attributes import read_text

__all__ = ["Holder", "Machine", "Node", "User"]

_DAC_OVERRIDE, _IPC_LOCK, _SYS_ADMIN = 1, 14, 21  # include/uapi/linux/capability.h


@dataclass(frozen=True, slots=True)
class Node:
    """A device node: its permission bits, owner and group by name, and whether this user may read and write it."""

    path: str
    mode: int
    owner: str
    group: str
    accessible: bool

    def __str__(self) -> str:
        return f"{self.path} is {self.owner}:{self.group}, mode {self.mode:04o}"


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that has a node open."""

    pid: int
    name: str

    def __str__(self) -> str:
        return f"process {self.pid} ({printable(self.name)})"


@dataclass(frozen=True, slots=True)
class User:
    """Who looks: effective user id, all group ids, effective capabilities. From /proc/self/status."""

    uid: int
    groups: frozenset[int] = frozenset()
    capabilities: int = 0
    name: str = "USER"

    @property
    def privileged(self) -> bool:
        """Whether file permissions do not stop it."""
        return self.uid == 0 or bool(self.capabilities >> _DAC_OVERRIDE & 1)

    @property
    def locks_freely(self) -> bool:
        """CAP_IPC_LOCK: RLIMIT_MEMLOCK does not apply."""
        return bool(self.capabilities >> _IPC_LOCK & 1)

    @property
    def administers(self) -> bool:
        """CAP_SYS_ADMIN: all of config space may be read."""
        return bool(self.capabilities >> _SYS_ADMIN & 1)


@dataclass(frozen=True)
class Machine:
    """Roots of sysfs, proc and dev under one folder. A snapshot: what is cached here is read once.

    ``nodes`` are device nodes as they were recorded, by path, and ``holders`` the processes that had them open; None:
    look at the nodes and the processes themselves.
    """

    root: Path = Path("/")
    nodes: Mapping[str, Node] | None = field(default=None, compare=False)
    holders: Mapping[str, tuple[Holder, ...]] | None = field(default=None, compare=False)

    @property
    def live(self) -> bool:
        """Whether this is the machine that we run on."""
        return self.root == Path("/")

    @property
    def sys(self) -> Path:
        """Where sysfs is, under ``root``."""
        return self.root / "sys"

    @property
    def dev(self) -> Path:
        """Where device nodes are, under ``root``."""
        return self.root / "dev"

    @property
    def proc(self) -> Path:
        """Where procfs is, under ``root``."""
        return self.root / "proc"

    @property
    def etc(self) -> Path:
        """Where the administrator's configuration is, under ``root``."""
        return self.root / "etc"

    @property
    def run(self) -> Path:
        """Where this package keeps what must not outlive a boot."""
        return self.root / "run/vfio-ims"

    def functions(self) -> tuple[Function, ...]:
        """Every PCI function, by address."""
        return functions(self.sys)

    def function(self, name: str | PciAddress) -> Function | None:
        """The function of this address or kernel name, or None."""
        return find(str(name), self.sys)

    def text(self, path: str, size: int = 1 << 16) -> str | None:
        """The text of a file, given by its absolute path on that machine, or None; its first ``size`` bytes."""
        return read_text(self.root / path.lstrip("/"), size)

    def module(self, name: str) -> bool:
        """Whether this kernel module is loaded or built in."""
        return (self.sys / "module" / name).is_dir()

    def parameter(self, module: str, name: str) -> str | None:
        """A module's parameter as text ("Y" and "N" for switches), or None where there is none to be read."""
        return self.text(f"/sys/module/{module}/parameters/{name}")

    @cached_property
    def kernel(self) -> tuple[int, int]:
        """The running kernel's version: major, minor; (0, 0) where it does not say."""
        match = re.match(r"(\d+)\.(\d+)", self.release)
        return (int(match[1]), int(match[2])) if match else (0, 0)

    @cached_property
    def release(self) -> str:
        """The running kernel's release, such as ``6.12.9-amd64``."""
        return self.text("/proc/sys/kernel/osrelease") or ""

    @cached_property
    def boot_id(self) -> str:
        """Changes with every boot."""
        return self.text("/proc/sys/kernel/random/boot_id") or ""

    @cached_property
    def command_line(self) -> tuple[str, ...]:
        """The kernel's options."""
        return tuple((self.text("/proc/cmdline") or "").split())

    @cached_property
    def user(self) -> User:
        """Who looks; root where there is no /proc."""
        lines = dict(line.split(":", 1) for line in (self.text("/proc/self/status") or "").splitlines() if ":" in line)
        try:
            groups = {int(lines["Gid"].split()[1]), *(int(word) for word in lines.get("Groups", "").split())}
            uid = int(lines["Uid"].split()[1])
            name = "root" if uid == 0 else _owner(uid) if self.live else "USER"
            return User(uid, frozenset(groups), int(lines.get("CapEff", "0"), 16), name)
        except (KeyError, ValueError, IndexError):
            return User(0, frozenset({0}), (1 << 41) - 1, "root")

    def node(self, path: str) -> Node | None:
        """The node ``path`` under /dev, such as ``vfio/12``, or None."""
        full = f"/dev/{path}"
        if self.nodes is not None:
            return self.nodes.get(full)
        place = self.dev / path
        try:
            status = place.stat()
        except OSError:
            return None
        if self.live:
            accessible = os.access(place, os.R_OK | os.W_OK, effective_ids=True)
        else:
            accessible = _permits(status, self.user)
        return Node(full, stat.S_IMODE(status.st_mode), _owner(status.st_uid), _group(status.st_gid), accessible)


def _permits(status: os.stat_result, user: User) -> bool:
    if user.privileged:
        return True
    shift = 6 if status.st_uid == user.uid else 3 if status.st_gid in user.groups else 0
    return status.st_mode >> shift & 6 == 6


def _owner(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)

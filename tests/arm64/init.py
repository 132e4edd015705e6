# SPDX-License-Identifier: Apache-2.0
"""The arm64 guest's first step: its root is a folder of the cache, and this repository is not in it.

Lays a writable layer over the whole root, mounts the repository's copy (`stage.py`) where this machine has the
repository, puts Python where this machine has it, and hands over to the lab's `guest_init.py`. It is part of the root
(`provision.sh`): a change to it makes another one. Standard library only.
"""

import ctypes
import os
import sys

MS_MOVE = 8192
libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str, flags: int = 0, options: str = "") -> None:
    os.makedirs(target, exist_ok=True)
    if libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode()):
        number = ctypes.get_errno()
        sys.exit(f"guest: cannot mount {kind} on {target}: {os.strerror(number)}")


mount("layer", "/tmp", "tmpfs", options="mode=755")
for name in ("upper", "work"):
    os.mkdir(f"/tmp/{name}")
mount("root", "/tmp/new", "overlay", options="lowerdir=/,upperdir=/tmp/upper,workdir=/tmp/work")
mount("/dev", "/tmp/new/dev", "none", MS_MOVE)
os.chroot("/tmp/new")
os.chdir("/")
share = "trans=virtio,version=9p2000.L,msize=262144,cache=loose"
mount("repository", os.environ["LAB_REPOSITORY"], "9p", options=share)
if not os.path.lexists(python := os.environ["LAB_PYTHON"]):
    os.makedirs(os.path.dirname(python), exist_ok=True)
    os.symlink("/usr/bin/python3", python)
os.execv("/usr/bin/python3", ["python3", "-S", "-E", os.environ["LAB_INIT"]])

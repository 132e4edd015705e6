# SPDX-License-Identifier: Apache-2.0
"""One interrupt vector's end: the eventfd that a listener gave, and how messages that meet there merge."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import weakref
from collections.abc import Callable
from typing import Literal

from vfio_ims.native.events import signal_merged
from vfio_ims.native.failure import failed
from vfio_ims.platform.refusals import refusal

__all__ = ["Merge", "Signal", "Vector", "hold_eventfd", "merging"]

Merge = Literal["always", "random", "never"]
Signal = Callable[[int], bool]
"""Signals an eventfd once; says whether its count grew (False: merged into the unread one)."""


def _signal(fd: int) -> bool:
    try:
        os.eventfd_write(fd, 1)
    except BlockingIOError:  # the count is at its maximum, where the kernel's own signal saturates too
        return False
    return True


def merging(mode: Merge, seed: int | None = None) -> Signal:
    """How a message behaves that arrives while an earlier one has not been read.

    A vector has one pending bit, so messages in flight together may become one. "always": they do, as long as the
    eventfd's count is unread. "random": some do, by ``seed``. "never": each counts.
    """
    if mode == "always":
        return signal_merged
    if mode == "never":
        return _signal
    if mode == "random":
        toss = random.Random(seed)

        def sometimes(fd: int) -> bool:
            return signal_merged(fd) if toss.random() < 0.5 else _signal(fd)

        return sometimes
    raise refusal(errno.EINVAL, "make a platform", why=f"merge must be always, random or never, not {mode!r}")


def hold_eventfd(fd: int) -> int:
    """A reference of our own to the caller's eventfd, as the kernel takes one. EBADF; EINVAL: no eventfd.

    SetupError where this process may open no more descriptors.
    """
    try:
        own = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 0)
    except (OSError, ValueError, OverflowError) as error:
        code = getattr(error, "errno", None)
        if code in (errno.EMFILE, errno.ENFILE):
            raise failed(code, "attach an eventfd", None) from error
        raise refusal(errno.EBADF, "attach an eventfd", why=f"descriptor {fd} is not open") from error
    if os.readlink(f"/proc/self/fd/{own}") != "anon_inode:[eventfd]":
        os.close(own)
        raise refusal(errno.EINVAL, "attach an eventfd", why=f"descriptor {fd} is not an eventfd")
    return own


class Vector:
    """Where an interrupt is delivered.

    All calls are made with the platform's lock held: a descriptor that is being signalled cannot be closed meanwhile.
    ``arrived`` counts deliveries, ``counted`` those that grew the eventfd.
    """

    __slots__ = ("__weakref__", "_signal", "arrived", "counted", "fd")

    def __init__(self, signal: Signal) -> None:
        self._signal, self.fd, self.arrived, self.counted = signal, -1, 0, 0
        _VECTORS.add(self)

    def deliver(self) -> None:
        """An interrupt arrives. Without a listener it is lost."""
        self.arrived += 1
        if self.fd >= 0 and self._signal(self.fd):
            self.counted += 1

    def listen(self, own: int) -> None:
        """Deliver to ``own``, a descriptor that becomes this vector's."""
        self.silence()
        self.fd = own

    def silence(self) -> None:
        """Deliver to no descriptor."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


_VECTORS: weakref.WeakSet[Vector] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    # A child's copies would keep the parent's eventfds open. No lock: its holder may not exist here.
    for vector in list(_VECTORS):
        vector.silence()


os.register_at_fork(after_in_child=_after_fork_in_child)

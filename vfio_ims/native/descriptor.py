# SPDX-License-Identifier: Apache-2.0
"""Owning file descriptors, so that a reused number is never hit and a forked child keeps no copy."""

from __future__ import annotations

import os
import weakref

from vfio_ims.lifetime import Owner

__all__ = ["Descriptor"]


class Descriptor(Owner):
    """Owns one file descriptor. The number is forgotten before it is closed, and a child's copy closes as it starts."""

    def __init__(self, fd: int, label: str, parent: Owner | None = None) -> None:
        self._fd = fd
        super().__init__(label, parent)
        _LIVE.add(self)

    def fileno(self) -> int:
        """The descriptor's number. Raises ClosedError."""
        self.check_open("use")
        return self._fd

    def _release(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


_LIVE: weakref.WeakSet[Descriptor] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for descriptor in list(_LIVE):
        Descriptor._release(descriptor)


os.register_at_fork(after_in_child=_after_fork_in_child)

# SPDX-License-Identifier: Apache-2.0
"""A forked child drops its copies of the parent's descriptors: a server's client would else outlive its own end."""

from __future__ import annotations

import os
import weakref
from typing import Protocol

__all__ = ["dropped_in_child"]


class Holder(Protocol):
    """What holds descriptors."""

    def drop(self) -> None:
        """Close them here, in the child: no message, no lock (its holder may not exist here), no error."""
        ...


_HOLDERS: weakref.WeakSet[Holder] = weakref.WeakSet()


def dropped_in_child(holder: Holder) -> None:
    """Call ``holder.drop()`` in every child that is forked while ``holder`` is alive."""
    _HOLDERS.add(holder)


def _after_fork_in_child() -> None:
    for holder in list(_HOLDERS):
        holder.drop()


os.register_at_fork(after_in_child=_after_fork_in_child)

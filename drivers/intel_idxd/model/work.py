# SPDX-License-Identifier: Apache-2.0
"""What travels through the modelled device: an enabled queue's configuration, and the work that it has accepted."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..hardware.descriptors import Descriptor

__all__ = ["EnabledQueue", "Work"]


@dataclass(slots=True)
class EnabledQueue:
    """An enabled queue: its configuration as it was when it was enabled."""

    index: int
    size: int
    threshold: int
    dedicated: bool
    pasid_enable: bool
    pasid: int
    privileged: bool
    block_on_fault: bool
    max_transfer: int
    max_batch: int
    operations: int
    classes: tuple[int, int]
    """Traffic classes A and B of its group."""
    sound: set[int] = field(default_factory=set)
    """Flags and opcodes that were seen to be in order on this queue."""


@dataclass(slots=True, eq=False)
class Work:
    """A descriptor that a queue has accepted, and the PASID that it runs with.

    ``begun``: an engine has it. ``dropped``: an abort hit it.
    """

    queue: EnabledQueue
    descriptor: Descriptor
    ims: bool
    pasid: int | None
    begun: bool = False
    dropped: bool = False
    number: int = -1

# SPDX-License-Identifier: Apache-2.0
"""Failures of the modelled hardware that options ask for: each so many-th operation ends in an error status."""

from __future__ import annotations

from ..hardware.descriptors import Descriptor
from ..hardware.status import Status
from .dsa_operations import reads_back

__all__ = ["InjectedFailures"]


class InjectedFailures:
    """Every ``every``-th operation fails with status ``code``; none where ``every`` is 0."""

    def __init__(self, every: int, code: int) -> None:
        self._every, self._code, self._done = every, code, 0
        self.any = bool(every)
        """Whether any operation fails."""

    def status_of(self, descriptor: Descriptor) -> int:
        """The status of the operation that was just done, where it is one that must fail; else 0."""
        if not self._every or (self._code == Status.HARDWARE_READBACK and not reads_back(descriptor)):
            return 0
        self._done += 1
        return 0 if self._done % self._every else self._code

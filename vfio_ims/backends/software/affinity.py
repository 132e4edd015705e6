# SPDX-License-Identifier: Apache-2.0
"""The CPUs of a device's vectors on the software platform, set as an administrator sets them on a machine."""

from __future__ import annotations

import errno
from collections.abc import Collection
from typing import TYPE_CHECKING

from vfio_ims.platform.refusals import refusal
from vfio_ims.ports.values import Affinity, IrqIndex

if TYPE_CHECKING:
    from vfio_ims.platform import Function
    from vfio_ims.platform.irqs import Irqs
    from vfio_ims.platform.message_irqs import MessageIrqs

__all__ = ["VectorCpus"]


class VectorCpus:
    """``cpus``: how many the platform has. The lowest allowed one takes the vector. INTx has no CPU here."""

    def __init__(self, name: str, function: Function, irqs: Irqs, cpus: int) -> None:
        self._name, self._function, self._irqs, self._online = name, function, irqs, frozenset(range(cpus))
        self._allowed: dict[tuple[int, int], frozenset[int]] = {}

    def _kind(self, index: int, vector: int, operation: str) -> MessageIrqs:
        if index not in (IrqIndex.MSI, IrqIndex.MSIX):
            why = "the software platform has CPUs for MSI and MSI-X vectors only"
            raise refusal(errno.EOPNOTSUPP, operation, device=self._name, why=why)
        kind = self._irqs.msi if index == IrqIndex.MSI else self._irqs.msix
        if not kind.armed(vector):
            why, hint = "the vector is not attached", "attach an event to it first"
            raise refusal(errno.EINVAL, operation, device=self._name, why=why, hint=hint)
        return kind

    def read(self, index: int, vector: int) -> Affinity:
        """The CPUs of an attached vector."""
        kind = self._kind(index, vector, f"read the CPUs of vector {vector}")
        return Affinity(self._allowed.get((index, vector), self._online), frozenset({kind.cpu(vector)}))

    def write(self, index: int, vector: int, cpus: Collection[int]) -> None:
        """Move an attached vector, at once. Without remapping its message changes."""
        operation = f"move vector {vector} to CPU {','.join(str(cpu) for cpu in sorted(cpus))}"
        kind = self._kind(index, vector, operation)
        usable = self._online & frozenset(cpus)
        if not usable:
            why = f"none of these CPUs is online: the platform has 0 to {max(self._online)}"
            raise refusal(errno.EINVAL, operation, device=self._name, why=why)
        if kind.cpu(vector) not in usable:
            kind.move(vector, min(usable), settle=True)
        self._allowed[index, vector] = frozenset(cpus)

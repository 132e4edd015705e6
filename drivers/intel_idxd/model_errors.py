# SPDX-License-Identifier: Apache-2.0
"""Where the modelled device reports what no completion record can tell: SWERR and INTCAUSE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .registers import Bar0, Cause

if TYPE_CHECKING:
    from .model import IdxdModel

__all__ = ["Fault", "Reporter"]


@dataclass(frozen=True, slots=True)
class Fault:
    """A software error. ``queue`` None: none is concerned; ``operation`` None: no descriptor is."""

    error: int
    queue: int | None = None
    operation: int | None = None
    pasid: int | None = None
    batch_index: int | None = None
    address: int = 0
    write: bool = False
    invalid_flags: int = 0
    handle: int = 0
    ims: bool = False


class Reporter:
    """Called with the model's lock held."""

    def __init__(self, model: IdxdModel) -> None:
        self._model = model

    def cause(self, cause: Cause) -> None:
        """Set a bit of INTCAUSE and raise vector 0."""
        registers = self._model.registers()
        registers.set(Bar0.INTCAUSE, registers.get(Bar0.INTCAUSE) | 1 << cause)
        self._model.raise_vector(0)

    def software_error(self, fault: Fault) -> None:
        """Record it, or that there was one more; interrupt where GENCTRL asks for it."""
        registers = self._model.registers()
        held = registers.get(Bar0.SWERR)
        if held.valid:
            registers.update(Bar0.SWERR, overflow=1)
            return
        registers.set(
            Bar0.SWERR,
            valid=1,
            descriptor_valid=fault.operation is not None,
            queue_valid=fault.queue is not None,
            batch=fault.batch_index is not None,
            write=fault.write,
            error=fault.error,
            queue=fault.queue or 0,
            operation=fault.operation or 0,
            pasid=fault.pasid or 0,
            batch_index=fault.batch_index or 0,
            invalid_flags=fault.invalid_flags,
            address=fault.address,
        )
        if registers.get(Bar0.GENCTRL).software_error:
            self.cause(Cause.SOFTWARE_ERROR)

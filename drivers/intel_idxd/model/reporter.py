# SPDX-License-Identifier: Apache-2.0
"""Error reporting of the modelled device outside completion records: SWERR, the event log, INTCAUSE."""

from __future__ import annotations

from functools import lru_cache

from vfio_ims.errors import BusFault

from ..hardware.events import Event, encode_event, entry_size
from ..hardware.registers import Bar0, Cause
from .state import ModelState

__all__ = ["Reporter"]

_SWERR, _GENCTRL, _GENCAP = Bar0.SWERR, Bar0.GENCTRL, Bar0.GENCAP
_VALID, _INTERRUPTS = _SWERR.fields["valid"].mask, _GENCTRL.fields["software_error"].mask
_EVENT_LOG = _GENCAP.fields["event_log"]


class Reporter:
    """Writes SWERR, the event log and INTCAUSE, and raises vector 0. Called with the state's lock held."""

    def __init__(self, state: ModelState) -> None:
        self._state = state

    def cause(self, cause: Cause) -> None:
        """Set a bit of INTCAUSE and raise vector 0."""
        registers = self._state.registers
        registers.set(Bar0.INTCAUSE, registers.get(Bar0.INTCAUSE) | 1 << cause)
        self._state.raise_vector(0)

    def software_error(self, event: Event) -> None:
        """Report into the event log where there is one with room, else into SWERR.

        Which errors go where is inferred.
        """
        if not self._log(event):
            self._record(event)

    def _log(self, event: Event) -> bool:
        registers, bus = self._state.registers, self._state.bus()
        size = entry_size(_EVENT_LOG.get(registers.get(_GENCAP)))
        if not size or bus is None or not registers.get(Bar0.GENCFG).event_log:
            return False
        config, status = registers.get(Bar0.EVLCFG), registers.get(Bar0.EVLSTATUS)
        entries, tail = config.size, status.tail
        if not entries or (tail + 1) % entries == status.head:
            return False
        pasid = config.pasid if config.pasid_enable else None
        try:
            bus.write((config.base << 12) + tail * size, encode_event(event, size), pasid)
        except BusFault:
            return False
        registers.update(Bar0.EVLSTATUS, tail=(tail + 1) % entries, interrupt=1)
        if registers.get(Bar0.GENCTRL).event_log:
            self.cause(Cause.EVENT_LOG)
        return True

    def _record(self, event: Event) -> None:
        """SWERR keeps the first, and whether there was one more; GENCTRL says whether that interrupts."""
        registers = self._state.registers
        if registers.get(_SWERR) & _VALID:
            registers.update(_SWERR, overflow=1)
            return
        what = event.error, event.queue, event.operation, event.batch_index
        about = event.pasid, event.write, event.invalid_flags, event.address
        registers.set(_SWERR, _first_error(*what, *about))
        if registers.get(_GENCTRL) & _INTERRUPTS:
            self.cause(Cause.SOFTWARE_ERROR)


@lru_cache(maxsize=64)  # a test provokes the same one over and over
def _first_error(
    error: int,
    queue: int | None,
    operation: int | None,
    batch_index: int | None,
    pasid: int,
    write: bool,
    invalid_flags: int,
    address: int,
) -> int:
    """SWERR for an event with these."""
    return _SWERR.value(
        valid=1,
        descriptor_valid=operation is not None,
        queue_valid=queue is not None,
        batch=batch_index is not None,
        write=write,
        error=error,
        queue=queue or 0,
        operation=operation or 0,
        pasid=pasid,
        batch_index=batch_index or 0,
        invalid_flags=invalid_flags,
        address=address,
    )

# SPDX-License-Identifier: Apache-2.0
"""Error reporting of the modelled device outside completion records: SWERR, the event log, INTCAUSE."""

from __future__ import annotations

from vfio_ims.errors import BusFault

from ..hardware.events import Event, encode_event, entry_size
from ..hardware.registers import Bar0, Cause
from .state import ModelState

__all__ = ["Reporter"]


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
        size = entry_size(registers.get(Bar0.GENCAP).event_log)
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
        if registers.get(Bar0.SWERR).valid:
            registers.update(Bar0.SWERR, overflow=1)
            return
        registers.set(
            Bar0.SWERR,
            valid=1,
            descriptor_valid=event.operation is not None,
            queue_valid=event.queue is not None,
            batch=event.batch_index is not None,
            write=event.write,
            error=event.error,
            queue=event.queue or 0,
            operation=event.operation or 0,
            pasid=event.pasid,
            batch_index=event.batch_index or 0,
            invalid_flags=event.invalid_flags,
            address=event.address,
        )
        if registers.get(Bar0.GENCTRL).software_error:
            self.cause(Cause.SOFTWARE_ERROR)

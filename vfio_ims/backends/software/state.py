# SPDX-License-Identifier: Apache-2.0
"""What a function's config space switches on and off, and its reset: the kernel keeps the one through the other.

Facts: the kernel's drivers/vfio/pci/vfio_pci_config.c (vfio_basic_config_write, vfio_exp_config_write) and
drivers/pci/pci.c (pci_dev_save_and_disable, pci_dev_restore); vfio_pci_core.c (vfio_pci_set_power_state).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vfio_ims.backends.software.config import SoftwareConfig
from vfio_ims.locks import make_rlock
from vfio_ims.messages import Message
from vfio_ims.pci import Command
from vfio_ims.pci.capabilities import Msi, PowerState
from vfio_ims.ports.values import RegionIndex

if TYPE_CHECKING:
    from vfio_ims.platform import Function
    from vfio_ims.platform.irqs import Irqs
    from vfio_ims.ports.link import Link

__all__ = ["FunctionState", "intx_asserted"]

_RESTORED = (0x0C, *range(0x10, 0x28, 4), 0x30, 0x3C)  # beside the command register, which comes last
_DEVICE_CONTROL, _DEVICE_CONTROL_2 = 0x08, 0x28
_EXPRESS_V2 = 0x3C


def intx_asserted(link: Link) -> bool:
    """Let the far side signal INTx again, and return whether its line is asserted now.

    False also where the far side signals that by itself. Refers to no device: the interrupt that asks outlives it.
    """
    unmask = getattr(link, "unmask_intx", None)
    if unmask is not None and unmask():
        return False
    return bool(link.read(RegionIndex.CONFIG, 0x06, 2)[0] & 0x08)


class FunctionState:
    """Config space with its effects. ``decode`` is called when memory decoding changes.

    ``resettable``: the function has a reset. Every method takes the state's lock; the bus never does.
    """

    def __init__(
        self,
        link: Link,
        function: Function,
        config: SoftwareConfig,
        irqs: Irqs,
        decode: Callable[[bool], None],
        *,
        resettable: bool,
    ) -> None:
        self._link, self._function, self.config, self._irqs = link, function, config, irqs
        self._decode, self.resettable = decode, resettable
        # What is written back when the function leaves D3hot, where that resets it; None while it is awake.
        self._asleep: list[tuple[int, bytes]] | None = None
        self._msi_state: tuple[Message | None, int] = None, 0  # what the MSI registers hold
        self._lock = make_rlock()

    def read(self, offset: int, size: int) -> bytes:
        """One aligned access of 1, 2 or 4 bytes to the user's view of config space."""
        with self._lock:
            return self.config.read(offset, size)

    def write(self, offset: int, data: bytes) -> None:
        """One aligned access of 1, 2 or 4 bytes, with what follows: bus mastering, decoding, INTx, power, a reset."""
        with self._lock:
            self.config.write(offset, data)
            if offset < 0x08:
                self._follow()
            control = self.config.power_control
            if control is not None and offset <= control < offset + len(data):
                self._follow_power()
            if self._asks_reset(offset, data) and self.resettable:
                self.reset()

    def _asks_reset(self, offset: int, data: bytes) -> bool:
        express = self.config.raw.express
        if express is None or not express.flr:
            return False
        high = express.offset + _DEVICE_CONTROL + 1 - offset
        return 0 <= high < len(data) and bool(data[high] & 0x80)

    def set_command(self, on: Command = Command(0), off: Command = Command(0)) -> None:  # noqa: B008
        """Set and clear bits of the device's command register."""
        with self._lock:
            self.config.set_command(self.config.command() & ~off | on)
            self._follow()

    def _follow_power(self) -> None:
        """In D3hot BARs do not answer and nothing is sent. Leaving it resets the function, unless it says otherwise."""
        asleep = self.config.power_state() is PowerState.D3HOT
        if asleep and self._asleep is None:
            keeps = self.config.raw.pm is not None and self.config.raw.pm.no_soft_reset
            self._asleep = [] if keeps else self._saved()
        elif not asleep and self._asleep is not None:
            saved, self._asleep = self._asleep, None
            if saved:
                self._restore(saved)
        self._follow()

    def wake(self) -> None:
        """Put the function into D0, as the kernel does before it resets or closes one."""
        with self._lock:
            if self._asleep is not None:
                self.config.wake()
                self._follow_power()

    def _follow(self) -> None:
        command, awake = self.config.command(), self._asleep is None
        self._function.bus_master = bool(command & Command.BUS_MASTER) and awake
        self._decode(bool(command & Command.MEMORY) and awake)
        self._irqs.intx.disable(self.config.intx_disable)

    def show_enables(self) -> None:
        """MSI and MSI-X are enabled by SET_IRQS, and config space says so."""
        raw = self.config.raw
        with self._lock:
            if raw.msix is not None:
                self.config.show(raw.msix.offset + 2, 0x8000 * self._irqs.msix.enabled, 0x8000, 2)
            if raw.msi is not None:
                self.config.show(raw.msi.offset + 2, 0x0001 * self._irqs.msi.enabled, 0x0001, 2)
                self._write_msi(raw.msi)

    def _write_msi(self, msi: Msi) -> None:
        """The kernel's part: the function's own registers get the message. A user's view of them stays scratch."""
        irqs = self._irqs.msi
        code = max(irqs.given - 1, 0).bit_length()
        state = irqs.base, int(irqs.enabled) | code << 4
        if state == self._msi_state:
            return
        self._msi_state = state
        base, control = state
        if base is not None:
            size = 8 if msi.wide else 4
            words = base.address.to_bytes(8, "little")[:size] + (base.data & 0xFFFF).to_bytes(2, "little")
            for at in range(0, size, 4):
                self._link.write(RegionIndex.CONFIG, msi.offset + 4 + at, words[at : at + 4])
            self._link.write(RegionIndex.CONFIG, msi.offset + 4 + size, words[size:])
        self._link.write(RegionIndex.CONFIG, msi.offset + 2, control.to_bytes(2, "little"))

    def reset(self) -> None:
        """Function reset. Command, BARs and device control are as before; vectors and their messages, too."""
        with self._lock:
            self.wake()
            before = self._saved()
            self._link.reset()
            self._restore(before)
            self._follow()
            if self.config.raw.msi is not None:
                self._msi_state = None, 0
                self._write_msi(self.config.raw.msi)

    def _restore(self, before: list[tuple[int, bytes]]) -> None:
        """After a reset: config space as it was, and nothing pends any more."""
        with self._function.platform.lock:
            self._irqs.table.forget()
        for (offset, data), (_, now) in zip(before, self._saved(), strict=True):
            if data != now:
                self._link.write(RegionIndex.CONFIG, offset, data)

    def _saved(self) -> list[tuple[int, bytes]]:
        header = self._link.read(RegionIndex.CONFIG, 0, 0x40)
        saved = [(offset, header[offset : offset + 4]) for offset in _RESTORED]
        express = self.config.raw.express
        if express is not None:
            registers = [_DEVICE_CONTROL] + ([_DEVICE_CONTROL_2] if express.size >= _EXPRESS_V2 else [])
            places = [express.offset + register for register in registers]
            saved += [(place, self._link.read(RegionIndex.CONFIG, place, 2)) for place in places]
        return [*saved, (0x04, header[0x04:0x06])]

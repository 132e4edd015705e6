# SPDX-License-Identifier: Apache-2.0
"""What a machine is like around one function: looked at before and after, so that what is left behind shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vfio_ims.host.binding import Binding
from vfio_ims.host.holders import Holders
from vfio_ims.host.journal import Journal
from vfio_ims.sysfs.attributes import entries, read_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from vfio_ims.host import Machine
    from vfio_ims.sysfs import Function

__all__ = ["Footprint"]


class Footprint:
    """Of ``function`` and of ``others`` that are bound with it. ``state``: where the journal of bindings is."""

    def __init__(self, machine: Machine, function: Function, state: Path, others: Sequence[Function] = ()) -> None:
        self._machine, self._function, self._state, self._others = machine, function, state, tuple(others)

    def take(self) -> dict[str, str]:
        """Name and text of each thing, from sysfs and /proc: nothing is opened."""
        function = self._function.fresh()
        found = {f"binding of {one}": str(Binding.of(one)) for one in (function, *self._others)}
        for name in ("power_state", "power/control", "d3cold_allowed", "reset_method"):
            text = read_text(function.path / name)
            if text is not None and not (name == "power_state" and function.driver):  # its driver's own affair
                found[name] = text
        config = function.config
        if config is not None and not config.absent and function.driver is None:
            found["enabled"] = ", ".join(_enabled(config.read(4, 2))) or "nothing"
        found["nodes"] = ", ".join(sorted(entries(self._machine.dev / "vfio/devices"))) or "none"
        found["groups"] = ", ".join(name for name in entries(self._machine.dev / "vfio") if name.isdigit()) or "none"
        found["opened by"] = ", ".join(map(str, Holders.scan(self._machine).of(function))) or "nothing"
        noted = [entry.address for entry in Journal(self._state / "bindings").entries()]
        found["to be restored"] = ", ".join(sorted(noted)) or "nothing"
        return found


def _enabled(command: int) -> list[str]:
    """What the command register lets the function do (PCI Express base specification 6.0, 7.5.1.1.3)."""
    names = {0: "I/O decoding", 1: "memory decoding", 2: "bus mastering"}
    return [name for bit, name in names.items() if command >> bit & 1]

# SPDX-License-Identifier: Apache-2.0
"""``replay:FILE``: a device that answers as a recording says, and compares what is done with what was done then."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from vfio_ims.errors import UsageError, VfioImsError
from vfio_ims.lifetime import Owner
from vfio_ims.native.events import signal
from vfio_ims.native.watch import watch
from vfio_ims.ports.values import DeviceFlags, DeviceInfo, IrqSet
from vfio_ims.tracing.difference import ReplayDifference
from vfio_ims.tracing.format import read_recording
from vfio_ims.tracing.names import RegisterNames, declared_blocks
from vfio_ims.tracing.replay_space import ReplaySpace
from vfio_ims.tracing.replay_window import ReplayWindow
from vfio_ims.tracing.script import Script
from vfio_ims.tracing.values import answer_from, irq_from, region_from

if TYPE_CHECKING:
    from vfio_ims.messages import MessagePlatform
    from vfio_ims.ports.address_space import AddressSpacePort
    from vfio_ims.ports.values import AffectedFunction, Affinity, Evidence, IrqInfo, RegionInfo
    from vfio_ims.tracing.format import Event

__all__ = ["ORDERS", "ReplayDevice"]

ORDERS = ("strict", "thread", "register")
_SETTLE = 0.005  # what has not come at once will not: nothing here comes by itself


class ReplayDevice(Owner):
    """``DevicePort`` over the recording in ``path``. ``order`` and ``masks`` as ``Script`` and ``Masks`` take them.

    ``close`` raises the difference that was met, so that code which handles errors of devices does not hide it.
    """

    mount = "replay"

    def __init__(
        self, path: str | Path, name: str, *, order: str = "strict", masks: Mapping[str, int] | None = None
    ) -> None:
        recording = read_recording(path)
        self.header = header = recording.header
        if not header.get("from_open", False) and order != "register":
            why = "it begins while the device was in use"
            hint = f"{name},order=register, or record from the opening on: vfio-ims --trace FILE"
            raise UsageError(f"replay {path}", why=why, hint=hint)
        self._info = DeviceInfo(DeviceFlags(header["info"]["flags"]), header["info"]["regions"], header["info"]["irqs"])
        self._regions = [region_from(one) for one in header["regions"]]
        self._irqs = {one["index"]: irq_from(one) for one in header["irqs"]}
        self._events: dict[tuple[int, int], int] = {}
        self._spaces: list[ReplaySpace] = []
        self.script = Script(
            recording, name, order=order, masks=masks or {}, apply=self._apply, interrupt=self._interrupt
        )
        self._numbers = count()
        self._spaces.append(ReplaySpace(header["space"], self.script, 0, self._numbers))
        self._names = RegisterNames(declared_blocks(header["id"]))
        super().__init__(name)
        watch.add(self)

    # --- what the device does -----------------------------------------------------------------------------------------

    def _apply(self, event: Event) -> None:
        by_number = {one.number: one for space in self._spaces for one in space.buffers}
        for which, offset, data in event.get("changes", ()):
            buffer = by_number.get(which)
            if buffer is not None and buffer.address:
                buffer.store(offset, bytes.fromhex(data))

    def _interrupt(self, event: Event) -> None:
        descriptor = self._events.get((event["index"], event["vector"]))
        if descriptor is not None:
            for _ in range(min(event["count"], 4096)):
                signal(descriptor)

    def before_look(self) -> None:
        self.script.look()

    def after_look(self) -> None:
        """Nothing."""

    def drained(self, descriptor: int, count: int) -> None:
        """Nothing: it was signalled from here."""

    # --- what it is ---------------------------------------------------------------------------------------------------

    @property
    def difference(self) -> ReplayDifference | None:
        """Where the replay left the recording; None: it has not."""
        return self.script.difference

    @property
    def remaining(self) -> int:
        """How many recorded calls have not been made."""
        return self.script.remaining

    @property
    def name(self) -> str:
        return self.label

    @property
    def settle(self) -> float:
        return _SETTLE

    @property
    def space(self) -> AddressSpacePort:
        return self._spaces[0]

    def device_info(self) -> DeviceInfo:
        return self._info

    def region_info(self, index: int) -> RegionInfo:
        if not 0 <= index < len(self._regions):
            why = f"region must be 0 to {len(self._regions) - 1}, not {index!r}"
            raise UsageError("ask for region info", device=self.label, why=why)
        return self._regions[index]

    def irq_info(self, index: int) -> IrqInfo:
        if index not in self._irqs:
            why = f"index must be one of {sorted(self._irqs)}, not {index!r}"
            raise UsageError("ask for interrupt info", device=self.label, why=why)
        return self._irqs[index]

    # --- verbs --------------------------------------------------------------------------------------------------------

    def _take(self, kind: str, **content: Any) -> Event:
        self.check_open(kind.replace("_", " "))
        return self.script.take({"k": kind} | content)

    def window(self, index: int, guard: tuple[int, int] | None = None) -> ReplayWindow:
        self.check_open(f"open a window on region {index}")
        label = f"{self.label} region {index}"
        return ReplayWindow(self.region_info(index), self.script, self._names, self._symbol, label, self)

    def _symbol(self, address: int) -> str | None:
        for space in self._spaces:
            found = space.buffers.symbol(address)
            if found:
                return found
        return None

    def read_region(self, index: int, offset: int, size: int) -> bytes:
        return bytes.fromhex(self._take("rr", region=int(index), offset=f"{offset:#x}", size=size)["data"])

    def write_region(self, index: int, offset: int, data: bytes) -> None:
        self._take("wr", region=int(index), offset=f"{offset:#x}", written=bytes(data).hex())

    def set_irqs(self, index: int, flags: int, start: int, count: int, data: Sequence[int] = ()) -> None:
        content: Event = {"index": int(index), "flags": int(flags), "start": start, "count": count}
        events = bool(flags & IrqSet.DATA_EVENTFD)
        if data:
            content["data"] = [one >= 0 for one in data] if events else list(data)
        if events and flags & IrqSet.ACTION_TRIGGER:  # first: an interrupt may follow at once
            for at, descriptor in enumerate(data):
                if descriptor >= 0:
                    self._events[int(index), start + at] = descriptor
                else:
                    self._events.pop((int(index), start + at), None)
        self._take("irqs", **content)

    def reset(self) -> None:
        self._take("reset")

    def hot_reset(self) -> None:
        self._take("hot_reset")

    def feature(self, flags: int, data: bytes = b"") -> bytes:
        return bytes.fromhex(self._take("feature", flags=int(flags), given=data.hex()).get("data", ""))

    def set_affinity(self, index: int, vector: int, cpus: Collection[int]) -> None:
        shown = list(cpus) if isinstance(cpus, (set, frozenset)) else cpus
        self._take("set_affinity", of=[int(index), vector, shown])

    def new_space(self) -> AddressSpacePort:
        number = len(self._spaces)
        self._take("new_space", space=number)
        self._spaces.append(ReplaySpace(self.header["space"], self.script, number, self._numbers))
        return self._spaces[-1]

    def attach_pasid(self, pasid: int, space: AddressSpacePort) -> None:
        number = space.number if isinstance(space, ReplaySpace) else -1
        self._take("attach_pasid", pasid=pasid, space=number)

    def detach_pasid(self, pasid: int) -> None:
        self._take("detach_pasid", of=[pasid])

    # --- questions ----------------------------------------------------------------------------------------------------

    def _ask(self, what: str, *of: object) -> Any:
        self.check_open(what.replace("_", " "))
        return answer_from(self.script.answer(what, list(of)).get("answer"))

    def hot_reset_scope(self) -> tuple[AffectedFunction, ...]:
        return cast("tuple[AffectedFunction, ...]", self._ask("hot_reset_scope"))

    def affinity(self, index: int, vector: int) -> Affinity:
        return cast("Affinity", self._ask("affinity", int(index), vector))

    def error_counts(self) -> Mapping[str, int]:
        return cast("Mapping[str, int]", self._ask("error_counts"))

    def interrupt_remapping(self) -> Evidence:
        return cast("Evidence", self._ask("interrupt_remapping"))

    def message_platform(self) -> MessagePlatform:
        return cast("MessagePlatform", self._ask("message_platform"))

    def pasid_bits(self) -> int:
        return cast("int", self._ask("pasid_bits"))

    def on_lost(self, notify: Callable[[VfioImsError], None]) -> None:
        """A recording is not lost."""

    def _release(self) -> None:
        watch.remove(self)
        if self.difference is not None:
            raise ReplayDifference("replay", device=self.label, why=self.difference.why)

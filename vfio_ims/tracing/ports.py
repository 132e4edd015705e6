# SPDX-License-Identifier: Apache-2.0
"""Records the verbs of an open device and of its address spaces, in place: every holder of the port is recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from vfio_ims.ports.covers import Covered
from vfio_ims.ports.values import IrqSet
from vfio_ims.tracing.memory import Buffers, digest
from vfio_ims.tracing.values import answer_to
from vfio_ims.tracing.windows import RecordingWindow

if TYPE_CHECKING:
    from vfio_ims.ports.address_space import AddressSpacePort
    from vfio_ims.ports.device import DevicePort
    from vfio_ims.tracing.recorder import Recorder

__all__ = ["PortRecording"]

_QUESTIONS = ("hot_reset_scope", "error_counts", "interrupt_remapping", "message_platform", "affinity", "pasid_bits")
_PLAIN = ("reset", "hot_reset", "detach_pasid", "set_affinity")


class PortRecording:
    """What is recorded of ``port``, from now until ``end``."""

    def __init__(self, port: DevicePort, recorder: Recorder) -> None:
        self._port, self._recorder = port, recorder
        self._covered = Covered()
        self._windows: dict[int, tuple[Any, int]] = {}  # by identity: the window and its region
        self._spaces: dict[int, int] = {}
        for name in _QUESTIONS:
            self._covered.cover(port, name, partial(self._question, name))
        for name in _PLAIN:
            self._covered.cover(port, name, partial(self._verb, name))
        self._covered.cover(port, "window", self._window)
        self._covered.cover(port, "read_region", self._read_region)
        self._covered.cover(port, "write_region", self._write_region)
        self._covered.cover(port, "set_irqs", self._set_irqs)
        self._covered.cover(port, "feature", self._feature)
        self._covered.cover(port, "new_space", self._new_space)
        self._covered.cover(port, "attach_pasid", self._attach_pasid)
        self._covered.cover(port, "close", self._close)
        self.add_space(port.space)

    def end(self) -> None:
        """Record no more."""
        self._windows.clear()
        self._covered.uncover()

    def add_window(self, window: Any, region: int) -> None:
        """Record a window that is open already."""
        if self._covered.cover_window(window, lambda inner: RecordingWindow(inner, region, self._recorder)):
            self._windows[id(window)] = window, region

    def region_of(self, window: object) -> int | None:
        """The region of a window that is recorded."""
        found = self._windows.get(id(window))
        return None if found is None else found[1]

    # --- covers -------------------------------------------------------------------------------------------------------

    def _call(self, kind: str, call: Callable[[], Any], **content: Any) -> Any:
        recorder = self._recorder
        began = recorder.begin()
        try:
            answer = call()
        except Exception as error:
            recorder.failed(began, error, kind, **content)
            raise
        if isinstance(answer, bytes):
            content["data"] = answer.hex()
        recorder.end(began, kind, **content)
        return answer

    def _question(self, name: str, ask: Callable[..., Any]) -> Callable[..., Any]:
        def asked(*arguments: Any) -> Any:
            recorder = self._recorder
            began, what = recorder.begin(), {"what": name} | ({"of": list(arguments)} if arguments else {})
            try:
                answer = ask(*arguments)
            except Exception as error:
                recorder.failed(began, error, "ask", **what)
                raise
            recorder.end(began, "ask", **what, answer=answer_to(answer))
            return answer

        return asked

    def _verb(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any) -> Any:
            shown = [list(one) if isinstance(one, (set, frozenset)) else one for one in arguments]
            return self._call(name, lambda: call(*arguments), **({"of": shown} if shown else {}))

        return called

    def _window(self, window: Callable[..., Any]) -> Callable[..., Any]:
        def made(index: int, guard: tuple[int, int] | None = None) -> Any:
            found = self._call("window", lambda: window(index, guard), region=index)
            self.add_window(found, index)
            return found

        return made

    def _read_region(self, read: Callable[..., bytes]) -> Callable[..., bytes]:
        def called(index: int, offset: int, size: int) -> bytes:
            where = {"region": int(index), "offset": f"{offset:#x}", "size": size}
            found: bytes = self._call("rr", lambda: read(index, offset, size), **where)
            return found

        return called

    def _write_region(self, write: Callable[..., None]) -> Callable[..., None]:
        def called(index: int, offset: int, data: bytes) -> None:
            where = {"region": int(index), "offset": f"{offset:#x}", "written": bytes(data).hex()}
            self._call("wr", lambda: write(index, offset, data), **where)

        return called

    def _set_irqs(self, call: Callable[..., None]) -> Callable[..., None]:
        def called(index: int, flags: int, start: int, count: int, data: Sequence[int] = ()) -> None:
            content: dict[str, Any] = {"index": int(index), "flags": int(flags), "start": start, "count": count}
            events = bool(flags & IrqSet.DATA_EVENTFD)
            if data:  # descriptors have other numbers in each run
                content["data"] = [one >= 0 for one in data] if events else list(data)
            self._call("irqs", lambda: call(index, flags, start, count, data), **content)
            if events and flags & IrqSet.ACTION_TRIGGER:
                self._recorder.vectors |= {fd: (int(index), start + at) for at, fd in enumerate(data) if fd >= 0}

        return called

    def _feature(self, call: Callable[..., bytes]) -> Callable[..., bytes]:
        def called(flags: int, data: bytes = b"") -> bytes:
            found: bytes = self._call("feature", lambda: call(flags, data), flags=int(flags), given=data.hex())
            return found

        return called

    def _new_space(self, call: Callable[[], AddressSpacePort]) -> Callable[[], AddressSpacePort]:
        def called() -> AddressSpacePort:
            number = len(self._spaces)
            made: AddressSpacePort = self._call("new_space", call, space=number)
            self.add_space(made)
            return made

        return called

    def _attach_pasid(self, call: Callable[..., None]) -> Callable[..., None]:
        def called(pasid: int, space: AddressSpacePort) -> None:
            number = self._spaces.get(id(space), -1)
            self._call("attach_pasid", lambda: call(pasid, space), pasid=pasid, space=number)

        return called

    def _close(self, call: Callable[[], None]) -> Callable[[], None]:
        def called() -> None:
            recorder = self._recorder
            began = recorder.begin()
            try:
                call()
            finally:
                recorder.end(began, "close")
                recorder.flush()

        return called

    # --- address spaces -----------------------------------------------------------------------------------------------

    def add_space(self, space: AddressSpacePort) -> None:
        number = self._spaces.setdefault(id(space), len(self._spaces))
        buffers = self._recorder.buffers[number] = Buffers(self._recorder.numbers, contents=self._recorder.contents)
        of = {"space": number} if number else {}

        def cover_map(call: Callable[..., None]) -> Callable[..., None]:
            def called(iova: int, address: int, size: int, **rights: Any) -> None:
                kept = {key: rights.get(key, True) for key in ("read", "write")}
                content = {"iova": f"{iova:#x}", "size": size} | kept | of
                self._call("map", lambda: call(iova, address, size, **rights), **content)
                buffers.add(iova, size, address if rights.get("write", True) else 0)

            return called

        def cover_pin(call: Callable[..., int]) -> Callable[..., int]:
            def called(address: int, size: int, **rights: Any) -> int:
                found: int = self._call("pin", lambda: call(address, size, **rights), size=size, **of)
                buffers.add(found, size, address)
                return found

            return called

        def cover_unmap(call: Callable[..., int]) -> Callable[..., int]:
            def called(iova: int, size: int) -> int:
                gone = buffers.within(iova, size)
                content: dict[str, Any] = {"iova": f"{iova:#x}", "size": size} | of
                if gone and self._recorder.digests and not self._recorder.contents:
                    content["held"] = [[one.name, one.size, digest(one.content())] for one in gone if one.address]
                found: int = self._call("unmap", lambda: call(iova, size), **content)
                for one in gone:
                    buffers.remove(one)
                return found

            return called

        def cover_unmap_all(call: Callable[[], int]) -> Callable[[], int]:
            def called() -> int:
                found: int = self._call("unmap_all", call, **of)
                for one in list(buffers):
                    buffers.remove(one)
                return found

            return called

        self._covered.cover(space, "map", cover_map)
        self._covered.cover(space, "pin", cover_pin)
        self._covered.cover(space, "unmap", cover_unmap)
        self._covered.cover(space, "unmap_all", cover_unmap_all)

# SPDX-License-Identifier: Apache-2.0
"""The devices that tests have open: those of the fixtures, and those that tests and their own fixtures open by name."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from vfio_ims.testing.named import same_device
from vfio_ims.testing.state import books_of, state_of

if TYPE_CHECKING:
    from vfio_ims.device import Device
    from vfio_ims.ports.device import DevicePort
    from vfio_ims.tracing.last import LastEvents

__all__ = ["OpenDevices"]

Section = tuple[str, str]


class _Opened:
    """One device, with the last events on it where they are kept. It is forgotten when its user forgets it."""

    def __init__(self, label: str, last: LastEvents | None, *, shared: bool) -> None:
        self.label, self._last, self.shared = label, last, shared
        self._device: weakref.ref[Device] | None = None

    def follow(self, device: Device) -> None:
        self._device = weakref.ref(device)
        if self._last is not None:
            self._last.follow(device)

    @property
    def device(self) -> Device | None:
        """None once it is closed."""
        device = None if self._device is None else self._device()
        return None if device is None or device.closed else device

    def shown(self, state: Callable[[Device], str]) -> list[Section]:
        """What a failure shows of it."""
        lines = [] if self._last is None else self._last.lines()  # first: asking for its state adds to them
        device = self.device
        found = [] if device is None else [(f"device {self.label}", state(device))]
        return found + ([(f"last accesses and interrupts of {self.label}", "\n".join(lines))] if lines else [])

    def end(self) -> None:
        if self._last is not None:
            self._last.close()


class OpenDevices:
    """Devices that were opened by name within ``watched``. ``last``: how many events are kept of each."""

    def __init__(self, last: int) -> None:
        self._size = last
        self.scope = "function"
        """Of the fixture that is being set up."""
        self._opened: list[_Opened] = []
        self._failure: tuple[int, str] | None = None  # which error left a ``with`` block
        self._sections: list[Section] = []  # and what the devices looked like then

    def __iter__(self) -> Iterator[Device]:
        return iter([one.device for one in self._opened if one.device is not None])

    def shared(self) -> list[Device]:
        """Those that a fixture of a wider scope than a test opened."""
        return [device for one in self._opened if one.shared and (device := one.device) is not None]

    def named(self, name: str) -> list[Device]:
        return [device for device in self if same_device(device.name, name)]

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Take note of what is opened within, and of errors that close it."""
        from vfio_ims.lifetime import LEAVING
        from vfio_ims.tracing.opening import OPENED

        OPENED.append(self._begin)
        LEAVING.append(self._leaving)
        try:
            yield
        finally:
            OPENED.remove(self._begin)
            LEAVING.remove(self._leaving)
            self.forget_closed()

    def forget_closed(self) -> None:
        """A run begins or ends: the closed devices of those before it are none of its own."""
        self._failure, self._sections = None, []
        for one in [one for one in self._opened if one.device is None]:
            one.end()
            self._opened.remove(one)

    def _begin(self, port: DevicePort) -> Callable[[Device], None]:
        from vfio_ims.tracing.last import LastEvents

        last = LastEvents(port, self._size) if self._size and port.mount != "replay" else None
        opened = _Opened(port.name, last, shared=self.scope != "function")
        self._opened.append(opened)
        return opened.follow

    def _leaving(self, error: BaseException) -> None:
        """An error is about to close something: look at the devices before it is gone, once for each error.

        A device is asked only where an assertion failed: an error may be one that the test expects, and a test that
        passes has no accesses but its own.
        """
        which = (id(error), repr(error))  # not itself: it would keep all that its frames hold
        if which != self._failure:
            self._failure = which
            self._sections = self._shown(state_of if isinstance(error, AssertionError) else books_of)

    def sections(self, error: BaseException) -> list[Section]:
        """What the report of a failure shows: the devices when ``error`` left the first ``with`` block, else now."""
        if self._failure == (id(error), repr(error)):
            return self._sections
        return self._shown(state_of)

    def _shown(self, state: Callable[[Device], str]) -> list[Section]:
        return [section for one in list(self._opened) for section in one.shown(state)]

    def close(self) -> None:
        for one in self._opened:
            one.end()
        self._opened.clear()

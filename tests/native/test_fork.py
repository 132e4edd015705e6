# SPDX-License-Identifier: Apache-2.0
"""A forked child has none of it: no mapping, no descriptor, no say over the parent's device."""

from __future__ import annotations

import os
import traceback
import warnings
from collections.abc import Callable

import pytest

from vfio_ims.errors import ClosedError
from vfio_ims.native.events import EventFd, Poller, signal_merged
from vfio_ims.native.memory import SharedMemory
from vfio_ims.native.window import MappedWindow


def in_child(check: Callable[[], None]) -> int:
    """Run ``check`` in a forked child; its exit status, or minus the signal that killed it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            check()
            os._exit(0)
        except BaseException:  # noqa: BLE001
            traceback.print_exc()
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def closed_here(*uses: Callable[[], object]) -> None:
    for use in uses:
        with pytest.raises(ClosedError, match="fork"):
            use()


def test_a_window_stays_with_its_parent(window: MappedWindow) -> None:
    window.write32(0, 1)

    def check() -> None:
        closed_here(
            lambda: window.read32(0),
            lambda: window.read64(0),
            lambda: window.write32(0, 2),
            lambda: window.read_block(0, 4),
            lambda: window.poll(0, 4, 1, 1, 1),
            lambda: window.store64(0, bytes(64), pieces=True),
        )
        window.close()

    assert in_child(check) == 0
    assert window.read32(0) == 1


def test_descriptors_are_closed_in_the_child() -> None:
    with EventFd() as event, Poller() as poller:
        poller.add(event.fileno())
        numbers = [event.fileno(), poller.fileno()]

        def check() -> None:
            for number in numbers:
                try:
                    os.fstat(number)
                except OSError:
                    continue
                raise AssertionError(f"descriptor {number} is open in the child")
            closed_here(event.fileno, event.signal, lambda: poller.wait(0), poller.fileno)
            event.close()
            poller.close()

        assert in_child(check) == 0
        event.signal()
        assert poller.wait(1) == [(event.fileno(), 1)]


def test_shared_memory_is_not_inherited() -> None:
    with SharedMemory(1 << 16) as memory:
        memory.view[0] = 7
        address = memory.address

        def check() -> None:
            closed_here(lambda: memory.view)
            with open("/proc/self/maps") as maps:
                assert "memfd:vfio-ims" not in maps.read()
            memory.close()

        def touch() -> None:
            import ctypes
            import faulthandler

            faulthandler.disable()
            ctypes.string_at(address, 1)

        assert in_child(check) == 0
        assert in_child(touch) < 0, "touching it is a fault"
        assert memory.view[0] == 7


def test_the_child_can_make_its_own() -> None:
    def check() -> None:
        with EventFd() as event, Poller() as poller, SharedMemory(4096) as memory:
            poller.add(event.fileno())
            assert signal_merged(event.fileno())
            assert poller.wait(1) == [(event.fileno(), 1)]
            memory.view[0] = 1

    with EventFd(), Poller(), SharedMemory(4096):
        assert in_child(check) == 0

# SPDX-License-Identifier: Apache-2.0
"""Failures on purpose at the seam: the n-th call through a port, its windows and its address spaces raises.

For tests that sweep n over everything a driver does, and look at what is left behind.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, cast

from vfio_ims.errors import DeviceError
from vfio_ims.locks import make_lock

if TYPE_CHECKING:
    from vfio_ims.ports.device import DevicePort

__all__ = ["FailurePlan", "with_faults"]

_NEVER = frozenset({"close", "check_open", "mapped", "on_lost"})
"""Calls that do not fail: closing releases what it can whatever happens, and the others ask nothing of the device."""

_WRAPPED = frozenset({"window", "space", "new_space"})
"""What hands out an object whose calls can fail too."""


class FailurePlan:
    """Fails call number ``fail_at`` (from 0), once; with ``onwards`` every call from there: a device that is lost.

    ``calls`` lists the names of the calls so far, ``failed`` the one that failed.
    """

    def __init__(self, fail_at: int | None = None, *, onwards: bool = False, code: int = errno.EIO) -> None:
        self.fail_at, self.onwards, self.code = fail_at, onwards, code
        self.calls: list[str] = []
        self.failed: str | None = None
        self._lock = make_lock()

    def pass_or_fail(self, name: str, device: str) -> None:
        """Count one call; raise if it is the one."""
        with self._lock:
            number = len(self.calls)
            self.calls.append(name)
            if self.fail_at is None or (number < self.fail_at if self.onwards else number != self.fail_at):
                return
            self.failed = self.failed or name
        raise DeviceError(name, device=device, why=f"failed on purpose, call {number}", errno=self.code)


def with_faults(port: DevicePort, plan: FailurePlan) -> DevicePort:
    """``port`` with failures as ``plan`` says; its windows and address spaces too."""
    return cast("DevicePort", _Faulty(port, plan, port.name, "port"))


class _Faulty:
    """Stands in for one object of the seam."""

    def __init__(self, inner: Any, plan: FailurePlan, device: str, kind: str) -> None:
        self._inner, self._plan, self._device, self._kind = inner, plan, device, kind
        self._parts: dict[int, _Faulty] = {}

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name in _WRAPPED and not callable(found):
            return self._wrap(found, name)
        if not callable(found) or name in _NEVER or name.startswith("_"):
            return found

        def call(*arguments: Any, **named: Any) -> Any:
            self._plan.pass_or_fail(f"{self._kind}.{name}", self._device)
            answer = found(*(_bare(one) for one in arguments), **{key: _bare(one) for key, one in named.items()})
            return self._wrap(answer, name) if name in _WRAPPED else answer

        return call

    def _wrap(self, part: Any, name: str) -> _Faulty:
        # The same stand-in each time: users distinguish address spaces by identity.
        return self._parts.setdefault(id(part), _Faulty(part, self._plan, self._device, name))


def _bare(argument: Any) -> Any:
    return argument._inner if isinstance(argument, _Faulty) else argument

# SPDX-License-Identifier: Apache-2.0
"""The errors of the package: one tree, sorted by who has to act.

Each error carries what failed (``operation``), on which ``device``, ``why``, and a ``hint``: what to do next. The
text is built from these fields, so that JSON output and pytest can show them apart.
"""

import os
import re
from collections.abc import Iterable
from difflib import get_close_matches

from vfio_ims.counted import counted

__all__ = [
    "AccessDenied",
    "BusFault",
    "ClosedError",
    "DeviceBusy",
    "DeviceError",
    "DeviceTimeout",
    "NoIommuWarning",
    "RemovedError",
    "SetupError",
    "UnsupportedError",
    "UsageError",
    "VfioImsError",
    "check_flag",
    "check_index",
    "explain_unknown",
    "hint_where_lost",
]


class VfioImsError(Exception):
    """Root of every error that this package raises on purpose.

    ``operation`` is what was tried, in words ("open", "map BAR 2"); ``device`` its name; ``why`` the cause; ``hint``
    the next step, a command where there is one; ``errno`` the kernel's answer if it was the kernel that refused.
    """

    def __init__(
        self, operation: str, *, device: str | None = None, why: str = "", hint: str = "", errno: int | None = None
    ) -> None:
        self.operation, self.device, self.why, self.hint = operation, device, why, hint
        if isinstance(self, OSError):
            super().__init__(errno, why)
        else:
            super().__init__(operation)
        self.errno = errno

    @property
    def summary(self) -> str:
        """Device, operation and cause on one line: the text without the next step."""
        where = f"{self.device}: " if self.device else ""
        cause = ": ".join(part for part in (self.why, os.strerror(self.errno) if self.errno else "") if part)
        return f"{where}{self.operation}" + (f": {cause}" if cause else "")

    def __str__(self) -> str:
        return f"{self.summary}\n  next: {self.hint}" if self.hint else self.summary

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.operation, self.device, self.why, self.hint, self.errno)


def _rebuild(
    kind: type[VfioImsError], operation: str, device: str | None, why: str, hint: str, errno: int | None
) -> VfioImsError:
    return kind(operation, device=device, why=why, hint=hint, errno=errno)


class UsageError(VfioImsError, ValueError):
    """The caller asked for something that cannot be: a bad name, range, width or state."""


class UnsupportedError(VfioImsError):
    """The device, kernel or mount has no such feature."""


class SetupError(VfioImsError, OSError):
    """The host is not ready: no driver bound, no IOMMU, no remapping, a group that is not viable."""


class AccessDenied(VfioImsError, PermissionError):
    """The host is ready but this user may not: a node's permissions, a limit, a missing capability."""


class DeviceBusy(VfioImsError, OSError):
    """The device, vector, slot or address is in use."""


class DeviceError(VfioImsError, OSError):
    """The device, or the kernel on its behalf, answered with an error."""


class RemovedError(DeviceError):
    """The device is gone: unplugged, lost, or its server closed the socket."""


class DeviceTimeout(VfioImsError, TimeoutError):
    """The device did not do in time what it must."""


class ClosedError(VfioImsError, ValueError):
    """Used after it was closed; ``why`` names who closed it."""


class NoIommuWarning(RuntimeWarning):
    """A device was opened without an IOMMU, as its user asked by name: what that gives up."""


class BusFault(Exception):
    """A request of a device's that the platform refused: unmapped, no permission, no such message.

    Outside the tree: it passes between the software platform and a device model, and is never a user's.
    """

    def __init__(self, iova: int, size: int, *, write: bool, why: str) -> None:
        super().__init__(f"{'write' if write else 'read'} of {counted(size, 'byte')} at {iova:#x}: {why}")
        self.iova, self.size, self.write, self.why = iova, size, write, why


def explain_unknown(kind: str, name: object, known: Iterable[str]) -> str:
    """Say that ``name`` is no known ``kind``, and which one was perhaps meant."""
    names = sorted(known)
    near = get_close_matches(str(name), names, n=1)
    suggestion = f"; did you mean {near[0]!r}?" if near else ""
    return f"{kind} must be one of {', '.join(names) or '(none known)'}, not {name!r}{suggestion}"


def check_index(value: object, count: int, name: str, operation: str, device: str | None = None) -> None:
    """Raise UsageError unless ``value`` is one of ``count`` numbers from 0 on.

    ``name`` is what the number is of ("slot"), ``operation`` what was tried, ``device`` on which one.
    """
    if not isinstance(value, int) or not 0 <= value < count:
        why = f"{name} must be below {count}, not {value}"
        if not isinstance(value, int):
            why = f"{name} must be a number from 0 to {count - 1}, not {value!r}"
        raise UsageError(operation, device=device, why=why)


def hint_where_lost(device: str) -> str:
    """The next step for a device that does not answer: ``doctor`` knows functions of this machine, not models."""
    real = re.match(r"[0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:", device)
    return f"vfio-ims doctor {device}" if real else "close it and open it again; if it is served, look at its server"


def check_flag(value: object, name: str, operation: str, device: str | None = None) -> None:
    """Raise UsageError unless ``value`` is True or False: a text such as "no" would count as true.

    ``name`` is the parameter's, ``operation`` what was tried, ``device`` on which one.
    """
    if not isinstance(value, bool):
        raise UsageError(operation, device=device, why=f"{name} must be True or False, not {value!r}")

# SPDX-License-Identifier: Apache-2.0
"""Hot reset of a function's slot or bus through the kernel: whom it takes along, and what a refusal means.

Facts: the kernel's drivers/vfio/pci/vfio_pci_core.c. Through a group every affected function's group must be shown;
through a function's own node the kernel itself knows what the iommufd owns.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Collection

from vfio_ims.backends.kernel.access import access_refused
from vfio_ims.errors import DeviceBusy, UnsupportedError, VfioImsError
from vfio_ims.native.hot_reset import NOT_OWNED, HotResetInfo
from vfio_ims.pci import PciAddress
from vfio_ims.ports.values import AffectedFunction
from vfio_ims.sysfs import Function

__all__ = ["affected_functions", "hot_reset_refused"]


def affected_functions(info: HotResetInfo, groups: Collection[int]) -> tuple[AffectedFunction, ...]:
    """The functions by address. ``groups``: the numbers of those groups that this process has open."""
    found = []
    for one in info.functions:
        address = str(PciAddress(one.segment, one.bus, one.devfn >> 3, one.devfn & 7))
        if info.by_device:
            found.append(AffectedFunction(address, one.id != NOT_OWNED))
        else:
            found.append(AffectedFunction(address, one.id in groups, one.id))
    return tuple(sorted(found))


def hot_reset_refused(
    code: int, operation: str, function: Function, affected: Callable[[], tuple[AffectedFunction, ...]]
) -> VfioImsError:
    """The kernel's answer to a hot reset or to the question what it would reset. ``affected`` asks, for the text."""
    name = str(function.address)
    if code == errno.ENODEV:
        why = "neither its slot nor its bus can be reset: it is on a root bus, or a quirk forbids it"
        hint = "reset the function itself, or power it down and up (D3hot)"
        return UnsupportedError(operation, device=name, why=why, hint=hint, errno=code)
    if code == errno.EPERM:
        why = "a function on its bus has no IOMMU group, so that no process can own it"
        return DeviceBusy(operation, device=name, why=why, hint="vfio-ims list", errno=code)
    if code in (errno.EINVAL, errno.EBUSY):
        try:
            others = [one for one in affected() if not one.owned]
        except VfioImsError:
            others = []
        listed = ", ".join(_described(one, function) for one in others) or "another function of the bus"
        why = f"it would reset {listed} too, which this process has not opened in the same address space"
        hint = f"bind these to vfio-pci and open them with share={name}, or leave the bus alone"
        return DeviceBusy(operation, device=name, why=why, hint=hint, errno=code)
    return access_refused(code, operation, name)


def _described(one: AffectedFunction, function: Function) -> str:
    driver = Function(PciAddress.parse(one.address), function.root).driver
    return f"{one} ({f'driver {driver}' if driver else 'no driver'})"

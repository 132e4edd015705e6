# SPDX-License-Identifier: Apache-2.0
"""Opening a function through the kernel's VFIO, by whichever interface there is."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from vfio_ims.backends.kernel.cdev import node_of, open_cdev
from vfio_ims.backends.kernel.claim import claim
from vfio_ims.backends.kernel.device import KernelDevice
from vfio_ims.backends.kernel.group import GroupSpace, open_group
from vfio_ims.backends.kernel.ioas import IoasSpace
from vfio_ims.backends.kernel.noiommu import not_without_iommu, open_without_iommu
from vfio_ims.backends.kernel.refusals import driver_missing
from vfio_ims.backends.kernel.space import KernelSpace
from vfio_ims.errors import UnsupportedError, UsageError
from vfio_ims.interruption import uninterrupted
from vfio_ims.pci import PciAddress
from vfio_ims.ports.address_space import AddressSpacePort
from vfio_ims.sysfs import Function

__all__ = ["INTERFACES", "open_kernel"]

INTERFACES = ("auto", "type1", "iommufd", "none")


def open_kernel(
    bdf: str,
    *,
    iommu: str = "auto",
    space: AddressSpacePort | None = None,
    vf_token: str | None = None,
    sysfs: Path = Path("/sys"),
    dev: Path = Path("/dev"),
) -> KernelDevice:
    """Open the PCI function ``bdf``, bound to vfio-pci or one of its variants.

    ``iommu``: "type1" (group and container), "iommufd" (the function's own node), or "auto": iommufd where the kernel
    has both nodes. "none": without an IOMMU, which only a privileged program may ask for, of a function that has none;
    see ``open_without_iommu``. ``space``: join that one, of a device that is open; the interface is then its.
    ``vf_token``: a UUID, which a physical function and its virtual functions on VFIO must share; through a function's
    own node since Linux 6.17, so that "auto" takes the group on older ones. Opening resets the function where it can be
    and leaves bus mastering off. Raises SetupError, AccessDenied or DeviceBusy, with what the kernel's answer means
    here and what to do next.
    """
    if iommu not in INTERFACES:
        raise UsageError("open", device=bdf, why=f"iommu must be one of {', '.join(INTERFACES)}, not {iommu!r}")
    function = Function(PciAddress.parse(bdf), sysfs)
    without = iommu == "none"
    refusal = driver_missing(function, without_iommu=without) or (not_without_iommu(function) if without else None)
    if refusal is not None:
        raise refusal
    token = _token(bdf, vf_token)
    with uninterrupted():  # a descriptor that Ctrl-C keeps from its owner would hold the group until the process ends
        held = claim(str(function.address), dev)
        try:
            opened = _open(function, iommu, space, dev, token)
        except BaseException:
            if held is not None:
                held.close()
            raise
        opened.claim = held
        return opened


def _token(bdf: str, text: str | None) -> str | None:
    """The UUID as the kernel takes it."""
    if text is None:
        return None
    try:
        return str(UUID(text))
    except ValueError as error:
        raise UsageError("open", device=bdf, why=f"vf_token must be a UUID, not {text!r}", hint="uuidgen") from error


def _open(function: Function, iommu: str, space: AddressSpacePort | None, dev: Path, token: str | None) -> KernelDevice:
    bdf = str(function.address)
    if iommu == "none" or (isinstance(space, KernelSpace) and not space.translates):
        if space is not None and (iommu != "none" or space.translates or not isinstance(space, GroupSpace | IoasSpace)):
            why = "an address space without an IOMMU is shared by devices that are opened with iommu=none only"
            raise UsageError("share an address space", device=bdf, why=why)
        return open_without_iommu(function, space=space, dev=dev, vf_token=token)
    if isinstance(space, GroupSpace):
        _same("type1", iommu, bdf)
        return open_group(function, space=space, dev=dev, vf_token=token)
    if isinstance(space, IoasSpace):
        _same("iommufd", iommu, bdf)
        return open_cdev(function, space=space, dev=dev, vf_token=token)
    if space is not None:
        why = f"{space.name} is no address space of the kernel"
        raise UsageError("share an address space", device=bdf, why=why)
    node = node_of(function, dev)
    both = node is not None and node.exists() and (dev / "iommu").exists()
    if iommu == "iommufd" or (iommu == "auto" and both):
        try:
            return open_cdev(function, dev=dev, vf_token=token)
        except UnsupportedError:
            if iommu == "iommufd":
                raise
    return open_group(function, dev=dev, vf_token=token)


def _same(interface: str, iommu: str, bdf: str) -> None:
    if iommu not in ("auto", interface):
        why = f"the address space to share is of {interface}, and iommu={iommu} was asked for"
        raise UsageError("share an address space", device=bdf, why=why)

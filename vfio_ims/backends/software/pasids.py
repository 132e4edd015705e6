# SPDX-License-Identifier: Apache-2.0
"""The PASIDs of one software device, each with its address space."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from vfio_ims.backends.software.space import SoftwareAddressSpace
from vfio_ims.errors import DeviceBusy, UnsupportedError, UsageError
from vfio_ims.locks import make_lock

if TYPE_CHECKING:
    from vfio_ims.platform import Function
    from vfio_ims.ports.address_space import AddressSpacePort
    from vfio_ims.ports.link import Link

__all__ = ["PasidSpaces"]


class PasidSpaces:
    """``bits``: how wide the function's own PASID capability says they are; 0 where it has none."""

    def __init__(self, name: str, link: Link, function: Function, bits: int) -> None:
        self._name, self._link, self._function, self._bits = name, link, function, bits
        self._lock = make_lock()
        self._spaces: dict[int, SoftwareAddressSpace] = {}

    def _missing(self) -> str:
        """Who cannot, of platform, link and function; "" where all can."""
        if not self._function.platform.pasids:
            return "the platform's IOMMU takes no PASIDs"
        if not getattr(self._link, "carries_pasids", False):
            return f"{self._link.mount} carries no PASIDs"
        return "" if self._bits else "the function has no PASID capability"

    @property
    def usable_bits(self) -> int:
        """How wide PASIDs may be here."""
        return 0 if self._missing() else self._bits

    def attach(self, pasid: int, space: AddressSpacePort) -> None:
        """UnsupportedError says who cannot: a kernel would let it pass without the capability and do nothing."""
        operation, platform, why = f"attach PASID {pasid}", self._function.platform, self._missing()
        if why:
            raise UnsupportedError(operation, device=self._name, why=why, errno=errno.EOPNOTSUPP)
        if not 1 <= pasid < 1 << self._bits:
            why = f"PASID must be 1 to {(1 << self._bits) - 1}, not {pasid!r}"
        elif not isinstance(space, SoftwareAddressSpace) or space.platform is not platform:
            why = f"the address space must be of this device's software platform, not {space!r}"
        if why:
            raise UsageError(operation, device=self._name, why=why, errno=errno.EINVAL)
        assert isinstance(space, SoftwareAddressSpace)
        with self._lock:
            if pasid in self._spaces:
                hint = f"detach PASID {pasid} first"
                raise DeviceBusy(
                    operation, device=self._name, why="it is attached already", hint=hint, errno=errno.EBUSY
                )
            space.attach_pasid(self._function, pasid, self._link)
            self._spaces[pasid] = space

    def detach(self, pasid: int) -> None:
        with self._lock:
            space = self._spaces.pop(pasid, None)
        if space is None:
            why = "it is not attached"
            raise UsageError(f"detach PASID {pasid}", device=self._name, why=why, errno=errno.EINVAL)
        space.detach_pasid(self._function, pasid, self._link)

    def close(self) -> None:
        for pasid in list(self._spaces):
            self.detach(pasid)

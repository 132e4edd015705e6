# SPDX-License-Identifier: Apache-2.0
"""A PCI function's address: domain, bus, device, function."""

import re
from dataclasses import dataclass
from typing import Self

from vfio_ims.errors import UsageError

__all__ = ["PciAddress"]

# As lspci and setpci read it. Domains wider than 16 bits exist: Intel VMD numbers its own from 0x10000.
_SPELLING = re.compile(r"(?:([0-9a-f]{1,8}):)?([0-9a-f]{1,2}):([0-9a-f]{1,2})\.([0-9a-f])", re.IGNORECASE)
_WIDTHS = {"domain": 32, "bus": 8, "device": 5, "function": 3}


@dataclass(frozen=True, slots=True, order=True)
class PciAddress:
    """One function's place. Orders by domain, bus, device, function; prints as the kernel spells it."""

    domain: int
    bus: int
    device: int
    function: int

    def __post_init__(self) -> None:
        for part, bits in _WIDTHS.items():
            value = getattr(self, part)
            if not isinstance(value, int) or not 0 <= value < 1 << bits:
                shown = f"{value:#x}" if isinstance(value, int) else repr(value)
                raise UsageError("name a PCI function", why=f"{part} must be 0 to {(1 << bits) - 1:#x}, not {shown}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``0000:6a:01.0``, ``6a:01.0`` (domain 0000), ``6A:1.0``, ``10000:e1:00.0``. Raises UsageError."""
        match = _SPELLING.fullmatch(text.strip())
        if match is None:
            raise UsageError(
                "name a PCI function",
                why=f"a PCI address must be [domain:]bus:device.function in hex, such as 0000:6a:01.0, not {text!r}",
            )
        return cls(*(int(part or "0", 16) for part in match.groups()))

    @classmethod
    def looks_like(cls, text: str) -> bool:
        """Whether ``text`` is spelled like an address, in range or not; a kernel name such as dsa0 is not."""
        return _SPELLING.fullmatch(text.strip()) is not None

    @classmethod
    def from_requester_id(cls, requester_id: int, domain: int = 0) -> Self:
        """The function that a 16-bit requester id names."""
        if not 0 <= requester_id <= 0xFFFF:
            raise UsageError("name a PCI function", why=f"a requester id must be 16 bits, not {requester_id:#x}")
        return cls(domain, requester_id >> 8, requester_id >> 3 & 0x1F, requester_id & 7)

    @property
    def devfn(self) -> int:
        """Device and function in one byte, as the kernel packs them."""
        return self.device << 3 | self.function

    @property
    def requester_id(self) -> int:
        """Bus, device and function as they travel in a request (PCIe base spec 6.0, section 2.2.6.2)."""
        return self.bus << 8 | self.devfn

    @property
    def short(self) -> str:
        """The spelling without a domain, as lspci prints it on hosts that have one domain only."""
        return f"{self.bus:02x}:{self.device:02x}.{self.function:x}"

    def __str__(self) -> str:
        return f"{self.domain:04x}:{self.short}"

    def __repr__(self) -> str:
        return f"PciAddress({str(self)!r})"

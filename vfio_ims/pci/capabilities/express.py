# SPDX-License-Identifier: Apache-2.0
"""The PCI Express capability: PCIe base spec 6.0, section 7.5.3; PCI_EXP_* in the kernel's pci_regs.h."""

from __future__ import annotations

from typing import Self

from vfio_ims.pci.capabilities.base import StandardCapability
from vfio_ims.pci.capabilities.fields import Bits, Flag, MaybeBits, MaybeFlag
from vfio_ims.pci.capabilities.port_type import PortType

__all__ = ["Express"]


_PORTS = {PortType.ROOT_PORT, PortType.UPSTREAM_PORT, PortType.DOWNSTREAM_PORT}
_TYPES = {int(kind): kind.name.replace("_", " ").lower() for kind in PortType}
_SPEEDS = {0: "none", 1: "2.5 GT/s", 2: "5 GT/s", 3: "8 GT/s", 4: "16 GT/s", 5: "32 GT/s", 6: "64 GT/s", 7: "128 GT/s"}
_ASPM = {0: "none", 1: "L0s", 2: "L1", 3: "L0s L1"}


def _payload(code: int) -> str:
    return f"{128 << code} bytes"


def _width(lanes: int) -> str:
    return f"x{lanes}"


class Express(StandardCapability):
    """Device, link, slot and root registers, and their second set from version 2 on.

    A version 1 endpoint ends after its link registers, one integrated in the root complex before them.
    """

    capability_id = 0x10
    minimum = 12
    reference = "PCIe 6.0 7.5.3"

    express_version = Bits(0x02, 3, 0)
    port_type = Bits(0x02, 7, 4, words=_TYPES)
    slot_implemented = Flag(0x02, 8)
    interrupt_message = Bits(0x02, 13, 9)
    # Device capabilities, control, status
    max_payload_supported = Bits(0x04, 2, 0, words=_payload)
    phantom_functions = Bits(0x04, 4, 3)
    extended_tag = Flag(0x04, 5)
    l0s_latency = Bits(0x04, 8, 6)
    l1_latency = Bits(0x04, 11, 9)
    role_based_errors = Flag(0x04, 15)
    slot_power_value = Bits(0x04, 25, 18)
    slot_power_scale = Bits(0x04, 27, 26)
    flr = Flag(0x04, 28)
    correctable_enable = Flag(0x08, 0, access="rw")
    nonfatal_enable = Flag(0x08, 1, access="rw")
    fatal_enable = Flag(0x08, 2, access="rw")
    unsupported_enable = Flag(0x08, 3, access="rw")
    relaxed_ordering_enable = Flag(0x08, 4, access="rw")
    max_payload = Bits(0x08, 7, 5, access="rw", words=_payload)
    extended_tag_enable = Flag(0x08, 8, access="rw")
    phantom_enable = Flag(0x08, 9, access="rw")
    aux_power_enable = Flag(0x08, 10, access="rw")
    no_snoop_enable = Flag(0x08, 11, access="rw")
    max_read_request = Bits(0x08, 14, 12, access="rw", words=_payload)
    initiate_flr = Flag(0x08, 15)  # reads as 0; on a bridge to PCI it is Configuration Retry Enable
    correctable_detected = Flag(0x0A, 0, access="w1c")
    nonfatal_detected = Flag(0x0A, 1, access="w1c")
    fatal_detected = Flag(0x0A, 2, access="w1c")
    unsupported_detected = Flag(0x0A, 3, access="w1c")
    aux_power = Flag(0x0A, 4)
    transactions_pending = Flag(0x0A, 5)
    # Link capabilities, control, status
    max_link_speed = MaybeBits(0x0C, 3, 0, words=_SPEEDS)
    max_link_width = MaybeBits(0x0C, 9, 4, words=_width)
    aspm_support = MaybeBits(0x0C, 11, 10, words=_ASPM)
    l0s_exit_latency = MaybeBits(0x0C, 14, 12)
    l1_exit_latency = MaybeBits(0x0C, 17, 15)
    clock_pm = MaybeFlag(0x0C, 18)
    surprise_down = MaybeFlag(0x0C, 19)
    link_active_reporting = MaybeFlag(0x0C, 20)
    bandwidth_notification = MaybeFlag(0x0C, 21)
    aspm_optionality = MaybeFlag(0x0C, 22)
    port_number = MaybeBits(0x0C, 31, 24)
    aspm_control = MaybeBits(0x10, 1, 0, access="rw", words=_ASPM)
    link_disable = MaybeFlag(0x10, 4)
    common_clock = MaybeFlag(0x10, 6, access="rw")
    link_speed = MaybeBits(0x12, 3, 0, words=_SPEEDS)
    link_width = MaybeBits(0x12, 9, 4, words=_width)
    link_training = MaybeFlag(0x12, 11)
    slot_clock = MaybeFlag(0x12, 12)
    link_active = MaybeFlag(0x12, 13)
    # Slot and root registers
    slot_capabilities = MaybeBits(0x14, 31, 0)
    slot_control = MaybeBits(0x18, 15, 0)
    slot_status = MaybeBits(0x1A, 15, 0)
    root_control = MaybeBits(0x1C, 15, 0)
    root_capabilities = MaybeBits(0x1E, 15, 0)
    root_status = MaybeBits(0x20, 31, 0)
    # Device capabilities 2, control 2
    completion_timeout_ranges = MaybeBits(0x24, 3, 0)
    completion_timeout_disable_supported = MaybeFlag(0x24, 4)
    ari_forwarding_supported = MaybeFlag(0x24, 5)
    atomic_routing = MaybeFlag(0x24, 6)
    atomic_completer_32 = MaybeFlag(0x24, 7)
    atomic_completer_64 = MaybeFlag(0x24, 8)
    cas_completer_128 = MaybeFlag(0x24, 9)
    ltr_supported = MaybeFlag(0x24, 11)
    tph_completer = MaybeBits(0x24, 13, 12)
    ten_bit_tag_completer = MaybeFlag(0x24, 16)
    ten_bit_tag_requester = MaybeFlag(0x24, 17)
    obff_supported = MaybeBits(0x24, 19, 18)
    extended_fmt = MaybeFlag(0x24, 20)
    end_end_prefix = MaybeFlag(0x24, 21)
    max_end_end_prefixes = MaybeBits(0x24, 23, 22)
    emergency_power_reduction = MaybeBits(0x24, 25, 24)
    frs_supported = MaybeFlag(0x24, 31)
    completion_timeout = MaybeBits(0x28, 3, 0, access="rw")
    completion_timeout_disable = MaybeFlag(0x28, 4, access="rw")
    ari_forwarding_enable = MaybeFlag(0x28, 5)
    atomic_request_enable = MaybeFlag(0x28, 6, access="rw")
    atomic_egress_block = MaybeFlag(0x28, 7)
    ido_request_enable = MaybeFlag(0x28, 8, access="rw")
    ido_completion_enable = MaybeFlag(0x28, 9, access="rw")
    ltr_enable = MaybeFlag(0x28, 10, access="rw")
    ten_bit_tag_enable = MaybeFlag(0x28, 12, access="rw")
    obff_enable = MaybeBits(0x28, 14, 13, access="rw")
    # Link 2
    supported_speeds = MaybeBits(0x2C, 7, 1)
    crosslink = MaybeFlag(0x2C, 8)
    link_capabilities_2_rest = MaybeBits(0x2C, 31, 9)
    target_link_speed = MaybeBits(0x30, 3, 0, words=_SPEEDS)
    link_control_2_rest = MaybeBits(0x30, 15, 4)
    link_status_2 = MaybeBits(0x32, 15, 0)
    slot_capabilities_2 = MaybeBits(0x34, 31, 0)
    slot_control_2 = MaybeBits(0x38, 15, 0)
    slot_status_2 = MaybeBits(0x3A, 15, 0)

    @classmethod
    def extent(cls, data: bytes) -> tuple[int, int]:
        version, kind = cls.express_version.read(data) or 0, cls.port_type.read(data)
        if version >= 2:
            # An endpoint may end at its link registers: without a slot the rest reads as zero, and some leave it out.
            return (0x3C if kind in _PORTS else 0x2C), 0x3C
        if kind in (PortType.ROOT_COMPLEX_INTEGRATED_ENDPOINT, PortType.ROOT_COMPLEX_EVENT_COLLECTOR):
            return 0x0C, 0x24
        return 0x14, 0x24

    @classmethod
    def new(
        cls,
        kind: PortType = PortType.ENDPOINT,
        *,
        version: int = 2,
        flr: bool = True,
        max_payload: int = 128,
        speed: int = 0,
        width: int = 0,
        ltr: bool = False,
        prefixes: int = 0,
    ) -> Self:
        """An endpoint's. ``max_payload`` in bytes; ``speed``: a code from 1, 2.5 GT/s, to 7, 128 GT/s; 0: no link.

        ``prefixes``: End-End TLP prefixes that it takes, up to 4. Without one a function has no PASIDs: Linux
        (pci_enable_pasid) leaves them off.
        """
        values: dict[str, int] = {
            "express_version": version,
            "port_type": kind,
            "max_payload_supported": (max_payload // 128).bit_length() - 1,
            "role_based_errors": 1,
            "extended_tag": 1,
            "flr": flr,
            # Reset values of Device Control (7.5.3.4).
            "relaxed_ordering_enable": 1,
            "extended_tag_enable": 1,
            "no_snoop_enable": 1,
            "max_read_request": 2,
        }
        size = cls.extent(bytes(2) + (version | kind << 4).to_bytes(2, "little"))[1]
        if speed:
            values |= {"max_link_speed": speed, "max_link_width": width, "link_speed": speed, "link_width": width}
            if version >= 2:
                values |= {"supported_speeds": (1 << speed) - 1, "target_link_speed": speed}
        if version >= 2:
            # An endpoint that makes requests must have a completion timeout that can be turned off (7.5.3.15).
            values |= {"ltr_supported": ltr, "completion_timeout_disable_supported": 1}
            values |= {"extended_fmt": bool(prefixes), "end_end_prefix": bool(prefixes)}
            values |= {"max_end_end_prefixes": prefixes & 3}
        return cls.make(size, **values)

    @property
    def kind(self) -> PortType | None:
        """Device or port type; None for a reserved code."""
        return PortType(self.port_type) if self.port_type in _TYPES else None

    @property
    def title(self) -> str:
        return f"Express (v{self.express_version}) {_TYPES.get(self.port_type, 'unknown type')}"

# SPDX-License-Identifier: Apache-2.0
"""What a device says of itself, to and from the wire: device, region and IRQ info. Pure.

The decoders trust nothing: what a reply says must fit the request, the reply's own length and the standard.
"""

from __future__ import annotations

from collections.abc import Sequence

from vfio_ims.ports.values import (
    Area,
    DeviceFlags,
    DeviceInfo,
    IrqFlags,
    IrqIndex,
    IrqInfo,
    RegionFlags,
    RegionIndex,
    RegionInfo,
)
from vfio_ims.vfio_user.messages import (
    CAP_HEADER,
    DEVICE_INFO,
    IRQ_INFO,
    REGION_INFO,
    SPARSE_AREA,
    SPARSE_HEADER,
)
from vfio_ims.vfio_user.wire import malformed

__all__ = [
    "decode_device_info",
    "decode_irq_info",
    "decode_region_info",
    "encode_device_info",
    "encode_irq_info",
    "encode_region_info",
]

# VFIO_REGION_INFO_CAP_*, include/uapi/linux/vfio.h
_CAP_SPARSE_MMAP, _CAP_MSIX_MAPPABLE = 1, 3
_MOST_REGIONS, _MOST_IRQS = 100, 50  # the bounds that QEMU's client sets (hw/vfio-user/device.c)
_LARGEST_REGION = 1 << 62
_SMALLEST_PAGE = 4096  # of any machine that a server may run on
# Vectors: PCI base specification, MSI-X Message Control (11 bits of size) and MSI Message Control (up to 32).
_MOST_VECTORS = {IrqIndex.INTX: 1, IrqIndex.MSI: 32, IrqIndex.MSIX: 2048, IrqIndex.ERR: 1, IrqIndex.REQ: 1}


def encode_device_info(info: DeviceInfo) -> bytes:
    return DEVICE_INFO.pack(DEVICE_INFO.size, info.flags, info.regions, info.irqs)


def decode_device_info(payload: bytes) -> DeviceInfo:
    """Raises WireError."""
    argsz, flags, regions, irqs = DEVICE_INFO.unpack(payload)
    if argsz < DEVICE_INFO.size:
        malformed("argsz", f"at least {DEVICE_INFO.size}", argsz)
    if not flags & DeviceFlags.PCI:
        malformed("flags", "those of a PCI device", hex(flags))
    if not RegionIndex.CONFIG < regions <= _MOST_REGIONS:
        malformed("num_regions", f"from {RegionIndex.CONFIG + 1} to {_MOST_REGIONS}", regions)
    if irqs > _MOST_IRQS:
        malformed("num_irqs", f"at most {_MOST_IRQS}", irqs)
    return DeviceInfo(DeviceFlags(flags & (DeviceFlags.RESET | DeviceFlags.PCI)), regions, irqs)


def encode_irq_info(info: IrqInfo) -> bytes:
    return IRQ_INFO.pack(IRQ_INFO.size, info.flags, info.index, info.count)


def decode_irq_info(payload: bytes, index: int) -> IrqInfo:
    """Raises WireError."""
    argsz, flags, said, count = IRQ_INFO.unpack(payload)
    if argsz < IRQ_INFO.size:
        malformed("argsz", f"at least {IRQ_INFO.size}", argsz)
    if said != index:
        malformed("index", f"{index}, as asked", said)
    most = _MOST_VECTORS.get(IrqIndex(index), 0) if index < len(IrqIndex) else 1 << 16
    if count > most:
        malformed("count", f"at most {most}", count)
    return IrqInfo(index, IrqFlags(flags & 0xF), count)


def encode_region_info(info: RegionInfo, areas: Sequence[Area], argsz: int) -> bytes:
    """As much of the reply as ``argsz`` bytes hold; ``areas`` are what may be mapped.

    ``info.msix_mappable``: reads of the MSI-X table show its messages, though no area holds it.

    A request that is too short for the capability learns the full size, and already that there is one and where:
    QEMU 11.1 takes a cap_offset of 0 beside that flag for an error.
    """
    flags = info.flags & (RegionFlags.READ | RegionFlags.WRITE)
    bodies: list[tuple[int, bytes]] = []
    if areas:
        flags |= RegionFlags.MMAP
        sparse = SPARSE_HEADER.pack(len(areas), 0)
        bodies.append((_CAP_SPARSE_MMAP, sparse + b"".join(SPARSE_AREA.pack(area.offset, area.size) for area in areas)))
    if info.msix_mappable:
        bodies.append((_CAP_MSIX_MAPPABLE, b""))
    body = b""
    for number, (kind, content) in enumerate(bodies, 1):
        flags |= RegionFlags.CAPS
        end = REGION_INFO.size + len(body) + CAP_HEADER.size + len(content)
        body += CAP_HEADER.pack(kind, 1, end if number < len(bodies) else 0) + content
    total = REGION_INFO.size + len(body)
    cap_offset = REGION_INFO.size if body else 0
    fixed = REGION_INFO.pack(total, flags, info.index, cap_offset, info.size, info.offset)
    return fixed + body if argsz >= total else fixed


def decode_region_info(payload: bytes, index: int) -> tuple[RegionInfo, int]:
    """The region, and the bytes of the full reply: where the payload is shorter, ask again with room for them.

    Raises WireError. Capabilities that are not known are passed over.
    """
    argsz, raw, said, cap_offset, size, offset = REGION_INFO.unpack(payload)
    if argsz < REGION_INFO.size:
        malformed("argsz", f"at least {REGION_INFO.size}", argsz)
    if said != index:
        malformed("index", f"{index}, as asked", said)
    if size > _LARGEST_REGION or offset > _LARGEST_REGION:
        malformed("size" if size > _LARGEST_REGION else "offset", "below 2**62", max(size, offset))
    flags = RegionFlags(raw & 0xF)
    if argsz > len(payload):
        return RegionInfo(index, flags, size, offset), argsz
    sparse: tuple[Area, ...] | None = None
    msix = False
    if flags & RegionFlags.CAPS:
        sparse, msix = _capabilities(payload[:argsz], cap_offset, size)
    areas: tuple[Area, ...] = ()
    if flags & RegionFlags.MMAP and size:
        areas = (Area(0, size),) if sparse is None else sparse
    return RegionInfo(index, flags, size, offset, areas, msix), argsz


def _capabilities(payload: bytes, at: int, size: int) -> tuple[tuple[Area, ...] | None, bool]:
    """Walk the chain, which must go upwards: so it ends."""
    sparse, msix, least, field = None, False, REGION_INFO.size, "cap_offset"
    while at:
        if not least <= at <= len(payload) - CAP_HEADER.size:
            malformed(field, f"from {least} to {len(payload) - CAP_HEADER.size}", at)
        kind, _, following = CAP_HEADER.unpack(payload, at)
        body = at + CAP_HEADER.size
        if kind == _CAP_SPARSE_MMAP:
            sparse = _sparse(payload, body, size)
        elif kind == _CAP_MSIX_MAPPABLE:
            msix = True
        at, least, field = following, body, "next capability"
    return sparse, msix


def _sparse(payload: bytes, at: int, size: int) -> tuple[Area, ...]:
    count, _ = SPARSE_HEADER.unpack(payload, at)
    at += SPARSE_HEADER.size
    room = (len(payload) - at) // SPARSE_AREA.size
    if count > room:
        malformed("nr_areas", f"at most {room}, what the reply has room for", count)
    spans = (SPARSE_AREA.unpack(payload, at + number * SPARSE_AREA.size) for number in range(count))
    areas = sorted(Area(offset, length) for offset, length in spans if length)
    end = 0
    for number, area in enumerate(areas):
        if area.end > size:
            malformed(f"area {number}", f"within the region's {size:#x} bytes", area)
        if area.offset < end:
            malformed(f"area {number}", "clear of the one before", area)
        # What is no whole page of this machine's is reached by message, as all that is not in an area.
        if area.offset % _SMALLEST_PAGE or area.size % _SMALLEST_PAGE:
            malformed(f"area {number}", "whole pages", area)
        end = area.end
    return tuple(areas)

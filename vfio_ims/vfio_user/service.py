# SPDX-License-Identifier: Apache-2.0
"""What each request of a client does to the model. What breaks the protocol is refused, as libvfio-user refuses."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from vfio_ims.counted import counted
from vfio_ims.native.shared_file import seals_of
from vfio_ims.ports.values import Area, DeviceFlags, RegionIndex
from vfio_ims.vfio_user.dma import ClientMemory
from vfio_ims.vfio_user.exported import ExportedFunction
from vfio_ims.vfio_user.infos import encode_device_info, encode_irq_info, encode_region_info
from vfio_ims.vfio_user.irqs import IrqTable
from vfio_ims.vfio_user.messages import (
    DEVICE_INFO,
    DMA_MAP,
    DMA_UNMAP,
    IRQ_INFO,
    REGION_ACCESS,
    REGION_INFO,
    REGION_IO_FDS,
    WRITE_COUNT,
    WRITE_ONE,
    DmaUnmapFlags,
)
from vfio_ims.vfio_user.wire import MAX_TRANSFER, Command, Refused

if TYPE_CHECKING:
    from vfio_ims.ports.model import ModelPort

__all__ = ["Answer", "Service"]

log = logging.getLogger(__name__)

Answer = bytes | tuple[bytes, tuple[int, ...]]
"""A reply's payload, with descriptors where it carries some."""


class Service:
    """The requests of one client. A handler takes a payload and its descriptors, and takes out those that it keeps.

    Handlers are called with the model's lock held. They raise Refused and WireError; other errors are the model's.
    """

    def __init__(self, model: ModelPort) -> None:
        self._model = model
        with model.lock:
            self._info = model.device_info()
            self.sizes = [model.region_info(index).size for index in range(self._info.regions)]
            areas = model.shared_areas()
            infos = [model.irq_info(index) for index in range(self._info.irqs)]
        self._exported = model if isinstance(model, ExportedFunction) else None
        self.irqs: IrqTable
        self.memory: ClientMemory
        if self._exported is not None:  # the device is behind a kernel, or the like, which has both
            self._shared = list(areas)
            self.irqs, self.memory = self._exported.client(infos)
        else:
            self._shared = [area for area in areas if _is_sealed(area.fd, model.name)]
            self.irqs, self.memory = IrqTable(infos, self._line_asserted), ClientMemory()
        self.handlers: dict[int, Callable[[bytes, list[int]], Answer]] = {
            Command.DMA_MAP: self._dma_map,
            Command.DMA_UNMAP: self._dma_unmap,
            Command.DEVICE_GET_INFO: self._device_info,
            Command.DEVICE_GET_REGION_INFO: self._region_info,
            Command.DEVICE_GET_REGION_IO_FDS: self._region_io_fds,
            Command.DEVICE_GET_IRQ_INFO: self._irq_info,
            Command.DEVICE_SET_IRQS: self._set_irqs,
            Command.REGION_READ: self._region_read,
            Command.REGION_WRITE: self._region_write,
            Command.REGION_WRITE_MULTI: self._region_write_multi,
            Command.DEVICE_RESET: self._device_reset,
        }

    def close(self) -> None:
        """Let go of everything that the client gave."""
        if self._exported is not None:
            self._exported.silence()  # before its memory goes
        self.memory.clear()
        self.irqs.close()

    # --- regions ------------------------------------------------------------------------------------------------------

    def _check(self, region: int, offset: int, count: int) -> None:
        if region >= len(self.sizes) or offset + count > self.sizes[region] or count > MAX_TRANSFER:
            raise Refused(errno.EINVAL, f"no {counted(count, 'byte')} at {offset:#x} of region {region}")

    def _region_read(self, payload: bytes, fds: list[int]) -> bytes:
        offset, region, count = REGION_ACCESS.unpack(payload)
        self._check(region, offset, count)
        data = self._model.read(region, offset, count) if count else b""
        if len(data) != count:
            raise ValueError(f"the model answered a read of {counted(count, 'byte')} with {len(data)}")
        return payload[: REGION_ACCESS.size] + data

    def _region_write(self, payload: bytes, fds: list[int]) -> bytes:
        offset, region, count = REGION_ACCESS.unpack(payload)
        data = payload[REGION_ACCESS.size :]
        if len(data) != count:
            raise Refused(errno.EINVAL, f"count must be the {counted(len(data), 'byte')} that came, not {count}")
        self._check(region, offset, count)
        if count:
            self._model.write(region, offset, data)
        return payload[: REGION_ACCESS.size]

    def _region_write_multi(self, payload: bytes, fds: list[int]) -> bytes:
        (count,) = WRITE_COUNT.unpack(payload)
        if len(payload) != WRITE_COUNT.size + count * WRITE_ONE.size:
            raise Refused(
                errno.EINVAL, f"wr_cnt must be that of the writes in {counted(len(payload), 'byte')}, not {count}"
            )
        writes = list(WRITE_ONE.iter_unpack(payload[WRITE_COUNT.size :]))
        for offset, region, size, _ in writes:
            if not 0 < size <= 8:
                raise Refused(errno.EINVAL, f"count must be from 1 to 8, not {size}")
            self._check(region, offset, size)
        for offset, region, size, data in writes:
            self._model.write(region, offset, data[:size])
        return WRITE_COUNT.pack(count)

    def _device_reset(self, payload: bytes, fds: list[int]) -> bytes:
        if not self._info.flags & DeviceFlags.RESET:
            raise Refused(errno.EINVAL, "the device has no reset")
        self._model.reset()
        return b""

    # --- what the device is -------------------------------------------------------------------------------------------

    def _device_info(self, payload: bytes, fds: list[int]) -> bytes:
        _at_least(DEVICE_INFO.unpack(payload)[0], DEVICE_INFO.size)
        return encode_device_info(self._info)

    def _region_info(self, payload: bytes, fds: list[int]) -> Answer:
        argsz, _, index, *_ = REGION_INFO.unpack(payload)
        _at_least(argsz, REGION_INFO.size)
        self._known(index, self._info.regions)
        shared = [area for area in self._shared if area.region == index]
        areas = [Area(area.offset, area.size) for area in shared]
        info = self._model.region_info(index)
        if self._exported is None:  # the table of a model is its client's
            info = replace(info, msix_mappable=False)
        body = encode_region_info(info, areas, argsz)
        return body, (shared[0].fd,) if shared and len(body) > REGION_INFO.size else ()

    def _region_io_fds(self, payload: bytes, fds: list[int]) -> bytes:
        argsz, flags, index, count = REGION_IO_FDS.unpack(payload)
        _at_least(argsz, REGION_IO_FDS.size)
        self._known(index, self._info.regions)
        if flags or count or argsz > MAX_TRANSFER or not self._model.region_info(index).flags:
            raise Refused(
                errno.EINVAL, f"no descriptors for region {index} (argsz {argsz}, flags {flags:#x}, count {count})"
            )
        return REGION_IO_FDS.pack(REGION_IO_FDS.size, 0, index, 0)

    def _irq_info(self, payload: bytes, fds: list[int]) -> bytes:
        argsz, _, index, _ = IRQ_INFO.unpack(payload)
        _at_least(argsz, IRQ_INFO.size)
        self._known(index, self._info.irqs)
        return encode_irq_info(self._model.irq_info(index))

    def _line_asserted(self) -> bool:
        """The status register's interrupt bit (PCI base specification, "Status Register")."""
        return bool(self._model.read(RegionIndex.CONFIG, 0x06, 1)[0] & 0x08)

    def _set_irqs(self, payload: bytes, fds: list[int]) -> bytes:
        self.irqs.set(payload, fds)
        return b""

    @staticmethod
    def _known(index: int, count: int) -> None:
        if index >= count:
            raise Refused(errno.EINVAL, f"index must be below {count}, not {index}")

    # --- memory -------------------------------------------------------------------------------------------------------

    def _dma_map(self, payload: bytes, fds: list[int]) -> bytes:
        argsz, flags, offset, address, size = DMA_MAP.unpack(payload)
        _at_least(argsz, DMA_MAP.size)
        self.memory.map(address, size, flags, offset, fds[0] if fds else None)
        return b""

    def _dma_unmap(self, payload: bytes, fds: list[int]) -> bytes:
        argsz, flags, address, size = DMA_UNMAP.unpack(payload)
        _at_least(argsz, DMA_UNMAP.size)
        if argsz > MAX_TRANSFER or flags not in (0, DmaUnmapFlags.ALL):
            raise Refused(errno.EINVAL, f"argsz {argsz} or flags {flags:#x} are not served")
        if not flags:
            self.memory.unmap(address, size)
        elif address or size:
            raise Refused(errno.EINVAL, "to unmap all, address and size must be 0")
        else:
            self.memory.clear()
        return payload[: DMA_UNMAP.size]


def _is_sealed(fd: int, name: str) -> bool:
    """Whether the file can be handed out: a client that cut it would end this process with SIGBUS."""
    with contextlib.suppress(OSError):
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    sealed = bool((seals_of(fd) or 0) & fcntl.F_SEAL_SHRINK)
    if not sealed:
        log.warning(
            "%s: an area is not offered for mapping: its file cannot be sealed (native.memory.sealed_file)", name
        )
    return sealed


def _at_least(argsz: int, size: int) -> None:
    if argsz < size:
        raise Refused(errno.EINVAL, f"argsz must be at least {size}, not {argsz}")

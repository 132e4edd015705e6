# SPDX-License-Identifier: Apache-2.0
"""What a server asks of its client: DMA by message, served through the platform's bus."""

from __future__ import annotations

import errno
import logging
from typing import TYPE_CHECKING

from vfio_ims.errors import BusFault
from vfio_ims.vfio_user.messages import DMA_ACCESS
from vfio_ims.vfio_user.transport import Message
from vfio_ims.vfio_user.wire import MAX_TRANSFER, Command, Refused, WireError, name_of

if TYPE_CHECKING:
    from vfio_ims.ports.model import Bus

__all__ = ["Answering"]

log = logging.getLogger(__name__)


class Answering:
    """Answers in the thread that receives. Before ``bus`` is set everything is refused with ENODEV."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.bus: Bus | None = None

    def interrupt(self, index: int, vector: int) -> None:
        """A vector's eventfd was signalled."""
        if self.bus is not None:
            self.bus.interrupt(index, vector)

    def answer(self, message: Message) -> tuple[int, bytes]:
        """An errno, 0 where the request was done, and the reply's payload. Never raises."""
        try:
            return 0, self._do(message)
        except Refused as refusal:
            return refusal.errno, b""
        except WireError:
            return errno.EINVAL, b""
        except BusFault as fault:
            log.debug("%s: %s", self._name, fault)
            return errno.EFAULT, b""
        except Exception:
            log.exception("%s: the bus failed in %s", self._name, name_of(message.command))
            return errno.EIO, b""

    def _do(self, message: Message) -> bytes:
        if message.command not in (Command.DMA_READ, Command.DMA_WRITE):
            raise Refused(errno.ENOSYS, "a client serves DMA only")
        address, count = DMA_ACCESS.unpack(message.payload)
        head, data = message.payload[: DMA_ACCESS.size], message.payload[DMA_ACCESS.size :]
        if message.fds or not 0 < count <= MAX_TRANSFER:
            raise Refused(errno.EINVAL, "descriptors, or a count that is not served")
        if self.bus is None:
            raise Refused(errno.ENODEV, "no bus yet")
        if message.command == Command.DMA_READ:
            return head + self.bus.read(address, count)
        if len(data) != count:
            raise Refused(errno.EINVAL, "count is not that of the data")
        self.bus.write(address, data)
        return head

# SPDX-License-Identifier: Apache-2.0
"""The configuration that the device has, and the one setting of a queue that changes while it works: its PASID."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..hardware.commands import Command, queue_operand
from .configuration import queue_entry, queue_mode

if TYPE_CHECKING:
    from ..hardware.registers import Bar0
    from .capabilities import Capabilities
    from .commander import Commander
    from .configuration import Configuration
    from .work_queue import WorkQueue

__all__ = ["QueueSettings"]


class QueueSettings:
    """The queues of one device as configured. ``active``: what was written between reset and enable."""

    active: Configuration

    def __init__(self, regs: Bar0, capabilities: Capabilities, commander: Commander) -> None:
        self._regs, self._capabilities, self._commander = regs, capabilities, commander

    def set_pasid(self, queue: WorkQueue, pasid: int | None) -> None:
        """Give a dedicated queue another PASID. It is disabled meanwhile: what is in flight completes first.

        DeviceError where the device refuses a command.
        """
        with queue.lock:
            queue.page.close()
            queue.loan = None
            self._commander.run(Command.DISABLE_QUEUE, queue_operand(queue.index))
            chosen = self.active.with_queue(queue.index, pasid=pasid).queue(queue.index)
            queue_entry(self._regs, self._capabilities, queue.index).MODE.write(queue_mode(chosen))
            self._commander.run(Command.ENABLE_QUEUE, queue.index)

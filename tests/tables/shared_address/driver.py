# SPDX-License-Identifier: Apache-2.0
"""The driver: the source of a slot is on only from its first fire until it is quiesced."""

from tests.tables.register_driver import RegisterDriver

from .registers import SLOTS, Bar0


class SharedAddress(RegisterDriver):
    """Turns a channel's source on, and fires it."""

    block, slots = Bar0, SLOTS

    def turn_on(self, slot: int) -> None:
        self.regs.SOURCE_ON.write(slot)

    def quiesce(self, slot: int) -> None:
        self.regs.SOURCE_OFF.write(slot)

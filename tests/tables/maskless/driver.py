# SPDX-License-Identifier: Apache-2.0
"""The driver: a slot's source cannot be turned off, so a quiet slot is one whose message goes to memory."""

from tests.tables.register_driver import RegisterDriver

from .registers import SLOTS, Bar0


class Maskless(RegisterDriver):
    """Raises any slot on request."""

    block, slots = Bar0, SLOTS

# SPDX-License-Identifier: Apache-2.0
"""The driver: a layout says where everything is."""

from tests.tables.register_driver import RegisterDriver

from .registers import SLOTS, Bar0


class Bitmaps(RegisterDriver):
    """Raises any slot on request."""

    block, slots = Bar0, SLOTS

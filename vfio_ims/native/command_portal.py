# SPDX-License-Identifier: Apache-2.0
"""A place in a window that takes commands of 16 bytes, four in each store of 64, and the credits that these take.

A command is two words of 64 bits. Many of them are checked, laid out and stored by one compiled call, credits included:
Ctrl-C comes before or after it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vfio_ims.errors import UsageError
from vfio_ims.native.lib import CData, native
from vfio_ims.native.outcome import refusal
from vfio_ims.native.window import MappedWindow

if TYPE_CHECKING:
    from vfio_ims.ports.window import Window

__all__ = ["CommandPortal", "CreditPool"]


class CreditPool:
    """``left``: how many things may be sent; each takes one, and gives it back later. From any thread."""

    __slots__ = ("c",)

    def __init__(self, total: int) -> None:
        self.c: CData = native().ffi.new("struct credit_pool *", (total,))

    @property
    def left(self) -> int:
        """How many are there."""
        return int(self.c.left)

    def take(self, count: int) -> bool:
        """Take so many; False where there are not: none is taken then."""
        return bool(native().lib.credit_pool_take(self.c, count))

    def give(self, count: int) -> None:
        """Give so many back."""
        native().lib.credit_pool_give(self.c, count)


class CommandPortal:
    """The place at ``offset`` of ``window``, which errors call ``label``.

    ``pieces``: each store as eight, which models take.
    ``column``: byte and width (1, 2, 4) of what differs in the second words of commands that are stored together.
    An acknowledgement is a command whose first word is 0; the second is ``acknowledge`` with the number that it
    acknowledges, less 1, from byte ``number_at`` on: at most ``most``. Bytes are counted in the command.
    """

    __slots__ = ("_label", "_pool", "_window", "c", "store", "take")

    def __init__(
        self,
        window: Window,
        offset: int,
        label: str,
        *,
        pieces: bool,
        column: tuple[int, int],
        acknowledge: int,
        number_at: int,
        most: int,
    ) -> None:
        at, width = column
        if width not in (1, 2, 4) or not 8 <= at <= 16 - width or not 8 <= number_at < 16 or most < 1:
            why = f"column {column} and number {number_at} must lie in bytes 8 to 15, and {most} be 1 or more"
            raise UsageError("lay out commands", why=why)
        ffi, lib = native()
        self._window, self._label = window, label
        self.c: CData = ffi.new("struct command_portal *")
        self.c.offset, self.c.pieces, self.c.column_width, self.c.column_shift = offset, pieces, width, 8 * (at - 8)
        self.c.acknowledge, self.c.number_shift, self.c.most = acknowledge, 8 * (number_at - 8), most
        if isinstance(window, MappedWindow):
            self.c.window = window.handle  # which the window keeps
        self.store: Callable[[CData, CData, int, CData, CData, int], int] = lib.command_portal_store
        """The compiled calls, given ``c``; commands.h says what they do."""
        self.take: Callable[[CData, CData, int, CData], int] = lib.command_portal_take
        self._pool: CreditPool | None = None
        lib.command_portal_own(self.c)

    def enter(self) -> bool:
        """Begin a use that a close waits for, and that ``leave`` ends; False where it was closed: there is none then.

        The compiled calls do so themselves.
        """
        return not native().lib.command_portal_enter(self.c)

    def leave(self) -> None:
        """End a use."""
        native().lib.command_portal_leave(self.c)

    def close(self, timeout: float = 2.0) -> bool:
        """Refuse what is asked from now on; return once what had begun has ended: nothing is stored after that.

        False where that took more than ``timeout`` seconds.
        """
        return not native().lib.command_portal_close(self.c, int(timeout * 1e9))

    def give_to(self, pool: CreditPool) -> None:
        """Entries that are taken give their credits to ``pool``."""
        self._pool, self.c.pool = pool, pool.c

    def check(self, status: int, operation: str) -> None:
        """Return where a compiled call left it to the window's own accesses; raise for anything else that it answered.

        ``operation``: what errors call it.
        """
        lib, window = native().lib, self._window
        if status not in (lib.ACCESS_BUSY, lib.ACCESS_TRAPPED):
            window.check_open(operation)  # knows who closed it
            raise refusal(status, operation, self._label, width=64, size=window.size)

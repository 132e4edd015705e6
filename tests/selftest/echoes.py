# SPDX-License-Identifier: Apache-2.0
"""Messages that are sent again, by a clock of messages and pauses."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar


class Echoes:
    """Sends messages again: after five others, or as soon as the self-test leaves the device alone.

    Real echoes come by the clock. Here messages and pauses are the clock, so that a busy machine changes nothing.
    """

    known: ClassVar[list[Echoes]] = []

    def __init__(self, _delay: float, emit: Callable[[int, Any], None]) -> None:
        self._emit, self._messages = emit, 0
        self._due: deque[tuple[int, int, Any]] = deque()
        self.known.append(self)

    def message(self) -> None:
        self._messages += 1
        self._send(self._messages)

    def after(self, index: int, slot: Any) -> None:
        self.message()
        self._due.append((self._messages + 5, index, slot))

    def pause(self) -> None:
        self._send(math.inf)

    def _send(self, due: float) -> None:
        while self._due and self._due[0][0] <= due:
            self._emit(*self._due.popleft()[1:])

    def close(self) -> None:
        self._due.clear()

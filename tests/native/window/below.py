# SPDX-License-Identifier: Apache-2.0
"""What is below a window: the bytes of its file, and a port for what is not mapped."""

from __future__ import annotations

import os


class Other:
    """Answers for what is not mapped, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []

    def __getattr__(self, verb: str) -> object:
        def answer(*arguments: object, **named: object) -> int:
            self.asked.append((verb, *arguments, *named.values()))
            return 0x5A

        return answer


def written(fd: int, offset: int, size: int) -> bytes:
    return os.pread(fd, size, offset)

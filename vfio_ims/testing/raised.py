# SPDX-License-Identifier: Apache-2.0
"""What a run of a sweep raised: whether it says what failed, and what is kept of it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from vfio_ims.errors import ClosedError, RemovedError, VfioImsError

__all__ = ["Hung", "Raised"]

_OPENERS = ("open_device", "open_driver", "open_fd")


class Hung(BaseException):
    """A run took longer than it may. No Exception: nothing that a test catches."""


@dataclass(frozen=True)
class Raised:
    """What is kept of an exception: not itself, whose traceback would hold what the test had open.

    ``words``: of what it does not explain, where it is not ``clear``. ``opening``: while a device was being opened, so
    that it was not handed out and has to be closed. ``explains``: also what went wrong before it: it is of a
    thread that the test waited for, or says that the device is gone, which had read as all ones till then.
    """

    words: str
    clear: bool
    hung: bool
    opening: bool
    explains: bool

    @classmethod
    def of(cls, error: BaseException) -> Raised:
        wrong = _unexplained(error)
        shown = wrong or error
        return cls(
            words=f"{type(shown).__name__}: {shown}",
            clear=wrong is None,
            hung=isinstance(error, Hung),
            opening=_opening(error),
            explains=wrong is None and isinstance(error, pytest.PytestUnhandledThreadExceptionWarning | RemovedError),
        )


def _unexplained(error: BaseException) -> BaseException | None:
    """None where an error says what failed: it is one of ours, or what a test found wrong quotes one or follows it.

    What a test found wrong before any failed is returned: that a device closes with an error does not explain it.
    """
    clear = any(isinstance(one, RemovedError) for one in _chain(error))
    for one in reversed(_chain(error)):
        if isinstance(one, BaseExceptionGroup):
            wrong = [found for inner in one.exceptions if (found := _unexplained(inner)) is not None]
            if wrong and not clear:
                return wrong[0]
            clear = True
        elif (isinstance(one, VfioImsError) and not isinstance(one, ClosedError)) or "injected: " in str(one):
            clear = True
        elif isinstance(one, AssertionError | pytest.fail.Exception) and not clear:
            return one
    return None if clear else error


def _chain(error: BaseException) -> list[BaseException]:
    """The error, and those that it came of or followed, the first one last."""
    chain: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in chain:
        chain.append(one)
        one = one.__cause__ or one.__context__
    return chain


def _opening(error: BaseException) -> bool:
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_name in _OPENERS:
            return True
        trace = trace.tb_next
    return False

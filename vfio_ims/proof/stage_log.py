# SPDX-License-Identifier: Apache-2.0
"""Stages as they run: each noted with its outcome, and what a stage raises to say it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from vfio_ims.errors import AccessDenied, SetupError, UsageError, VfioImsError
from vfio_ims.proof.report import STAGES, Outcome, Stage

__all__ = ["Fails", "NotApplicable", "NotNeeded", "StageLog", "Stop"]


class Fails(Exception):
    """It is not as it must be; the text says what was seen, ``hint`` what to do."""

    def __init__(self, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.hint = hint


class NotApplicable(Exception):
    """The device has no such feature; the text says what it lacks."""


class NotNeeded(Exception):
    """This mount has no such thing; the text says why."""


class Stop(Exception):
    """A stage failed after which the others would say nothing."""


class StageLog:
    """Runs stages and keeps what became of each. ``on_stage``: called with each one's name as it begins."""

    def __init__(self, on_stage: Callable[[str], None] | None) -> None:
        self._on_stage = on_stage or (lambda stage: None)
        self._ran: dict[str, Stage] = {}
        self.current = ""
        self.misused: UsageError | None = None
        """What opening said of a name that is wrong."""

    def run(self, name: str, work: Callable[[], str], *, vital: bool = False, host: bool = False) -> None:
        """Run ``work`` as the stage ``name``; its text is what it returns.

        ``vital``: Stop where it fails. ``host``: a failure is the machine's, not the device's. KeyboardInterrupt is
        noted and passed on.
        """
        self.current, began, hint = name, time.monotonic(), ""
        try:
            self._on_stage(name)
            text = work()
            outcome = Outcome.PASSED
        except NotApplicable as why:
            outcome, text = Outcome.NOT_APPLICABLE, str(why)
        except NotNeeded as why:
            outcome, text = Outcome.NOT_NEEDED, str(why)
        except KeyboardInterrupt:
            self._ran[name] = Stage(name, Outcome.INTERRUPTED, "", "", time.monotonic() - began)
            raise
        except Exception as error:  # noqa: BLE001 - a driver may raise anything; the report has it
            outcome, text, hint = Outcome.FAILED, *_words_of(error)
            if isinstance(error, UsageError) and name == "open":  # the name is wrong, not the device
                self.misused = error
            host = host or isinstance(error, (SetupError, AccessDenied))
        failed = outcome is Outcome.FAILED
        self._ran[name] = Stage(name, outcome, text, hint, time.monotonic() - began, host and failed)
        if failed and vital:
            raise Stop

    def failed(self, name: str) -> bool:
        """Whether this stage ran and failed."""
        return name in self._ran and self._ran[name].outcome is Outcome.FAILED

    def stages(self) -> Sequence[Stage]:
        """Every stage in its order, those that did not run too."""
        return [self._ran.get(name, Stage(name, Outcome.NOT_RUN)) for name in STAGES]


def _words_of(error: Exception) -> tuple[str, str]:
    """What an error says, and what to do next."""
    if isinstance(error, Fails):
        return str(error), error.hint
    if isinstance(error, VfioImsError):
        return error.summary, error.hint
    return f"{type(error).__name__}: {error}", ""

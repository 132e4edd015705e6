# SPDX-License-Identifier: Apache-2.0
"""Whatever a test opened is closed, also when it fails; echoes without a clock."""

import contextlib
from collections.abc import Iterator

import pytest

from tests.selftest import devices
from tests.selftest.echoes import Echoes
from vfio_ims.selftest.context import Context


@pytest.fixture(autouse=True)
def _close_all() -> Iterator[None]:
    yield
    while devices.OPENED:
        with contextlib.suppress(Exception):
            devices.OPENED.pop().driver.close()


@pytest.fixture
def echoes(monkeypatch: pytest.MonkeyPatch) -> None:
    """``Echoes`` for all who send again later."""
    pause = Context.pause

    def pause_with_echoes(self: Context, seconds: float) -> None:
        for each in Echoes.known:
            each.pause()
        pause(self, seconds)

    monkeypatch.setattr(Echoes, "known", [])
    monkeypatch.setattr(Context, "pause", pause_with_echoes)
    monkeypatch.setattr("vfio_ims.models.defects.Echo", Echoes)

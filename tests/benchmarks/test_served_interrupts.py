# SPDX-License-Identifier: Apache-2.0
"""Interrupts a second that served models deliver: to one client, and to several, each a process with its own server."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from vfio_ims.testing.server import ServedModel

CLIENT = Path(__file__).with_name("firing_client.py")
SECONDS = 0.5
MODEL = "intel-dsa"


def rate(devices: list[str]) -> float:
    """How many interrupts a second clients of the ``devices`` took, all at the same time."""
    with ExitStack() as stack:
        clients = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, str(CLIENT), device, str(SECONDS)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for device in devices
        ]
        for client in clients:
            assert client.stdout is not None
            assert client.stdout.readline() == "ready\n"
        for client in clients:
            assert client.stdin is not None
            client.stdin.write("\n")
            client.stdin.flush()
        return sum(float(client.communicate(timeout=60)[0]) for client in clients)


@pytest.mark.parametrize("clients", [1, 4])
def test_interrupts_of_served_models(race: Any, tmp_path: Path, clients: int) -> None:
    """Stated, without a limit: a fire there is messages through a socket, and here a call."""
    with ExitStack() as stack:
        served = []
        for number in range(clients):
            (folder := tmp_path / str(number)).mkdir()
            served.append(stack.enter_context(closing(ServedModel(MODEL, folder))).name)

        def ratio() -> tuple[float, float]:
            before, there, after = rate([f"mock:{MODEL}"]), rate(served), rate([f"mock:{MODEL}"])
            return (before + after) / 2 / there, 1 / there

        race.once(f"an interrupt of a served model, {clients} clients", ratio, against="one of the mock, one client")

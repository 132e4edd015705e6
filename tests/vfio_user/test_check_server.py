# SPDX-License-Identifier: Apache-2.0
"""The checks of other people's servers: a sound one passes, and each mistake is found by the check that is for it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from vfio_ims.cli.main import main
from vfio_ims.families import family_of_model
from vfio_ims.ports.values import IrqFlags, IrqIndex, IrqSet
from vfio_ims.selftest.report import Outcome
from vfio_ims.selftest.server import Fire, check_server
from vfio_ims.vfio_user import Server
from vfio_ims.vfio_user.dma import ClientMemory
from vfio_ims.vfio_user.irqs import IrqTable

MSIX, INTX = IrqIndex.MSIX, IrqIndex.INTX


@pytest.fixture
def fire(device) -> Callable[[IrqIndex], Fire]:
    """The write after which the test's device raises a vector."""

    def make(index: IrqIndex) -> Fire:
        device.irq_flags[INTX] = IrqFlags.EVENTFD | IrqFlags.MASKABLE | IrqFlags.AUTOMASKED
        return Fire(0, device.DO, 8, device.RAISE, index)

    return make


def outcomes(path: str, fire: Fire | None = None) -> dict[str, Outcome]:
    return {check.name: check.outcome for check in check_server(path, fire=fire, timeout=2)}


@pytest.fixture
def sound(path):
    """The server of a whole device."""
    model = family_of_model("minimal").load_model("minimal")("minimal")
    with Server(model, path) as server:
        yield server
    model.close()


def test_a_sound_server_passes(sound):
    found = outcomes(sound.path)
    assert found.pop("own interrupt") is Outcome.NOT_APPLICABLE
    assert Outcome.FAILED not in found.values()


def test_a_device_that_raises_is_masked_and_unmasked(device, path, fire):
    named = fire(INTX)  # the device takes address and data as they are: index 0, vector 0
    with Server(device, path):
        found = outcomes(path, named)
    assert [found[name] for name in ("own interrupt", "mask and pending", "INTx level")] == [Outcome.PASSED] * 3


@pytest.mark.parametrize(
    ("broken", "name"),
    [
        ("reset forgets", "reset"),
        ("masks nothing", "mask and pending"),
        ("no end", "vectors outside"),
        ("overlaps", "DMA maps"),
    ],
)
def test_a_mistake_is_found(device, path, fire, monkeypatch, broken, name):
    named = fire(INTX)
    with Server(device, path):
        if broken == "reset forgets":
            table: list[IrqTable] = []
            made = IrqTable.__init__
            monkeypatch.setattr(IrqTable, "__init__", lambda self, *rest: (table.append(self), made(self, *rest))[1])
            monkeypatch.setattr(type(device), "reset", lambda self: table[-1].close())
        elif broken == "masks nothing":
            monkeypatch.setattr(IrqTable, "_mask", lambda self, index, vector, masked: None)
        elif broken == "no end":
            before = IrqTable._broken_rule

            def rule(self: IrqTable, argsz: int, flags: int, *rest: object) -> str:
                plain = flags == IrqSet.DATA_NONE | IrqSet.ACTION_TRIGGER
                return "" if plain else before(self, argsz, flags, *rest)

            monkeypatch.setattr(IrqTable, "_broken_rule", rule)
        else:
            monkeypatch.setattr(ClientMemory, "map", lambda self, *rest: None)
        found = outcomes(path, named)
    assert found[name] is Outcome.FAILED, found


def test_the_verb_prints_what_its_schema_says(sound, capsys):
    from jsonschema import validate

    from vfio_ims.schemas import schema

    with pytest.raises(SystemExit) as ended:
        main(["check-server", f"vfio-user:{sound.path}", "--json"])
    document = json.loads(capsys.readouterr().out)
    validate(document, schema("check-server"))
    assert (ended.value.code, document["passed"]) == (0, True)
    with pytest.raises(SystemExit) as ended:
        main(["check-server", sound.path, "--fire", "nonsense"])
    assert ended.value.code == 2
    assert "--fire 0:0x8=1:4" in capsys.readouterr().err

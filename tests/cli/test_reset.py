# SPDX-License-Identifier: Apache-2.0
"""vfio-ims reset: which way was taken, what refused the others, and whether the device came back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import vfio_ims
from vfio_ims.cli.main import cli
from vfio_ims.drivers.intel_idxd.hardware.registers import Bar0
from vfio_ims.errors import DeviceError, UsageError
from vfio_ims.host.resetting import Before, affected, attempt, verify
from vfio_ims.ports.values import AffectedFunction, ResetMethod
from vfio_ims.registers import Block, Register, Repeat


def reset(*words: str) -> Result:
    return CliRunner().invoke(cli, ["reset", *words], standalone_mode=False)


@pytest.mark.parametrize("device", ["mock:minimal", "mock:intel-dsa"])
def test_the_first_way_that_is_done_is_enough_and_verified(device: str) -> None:
    result = reset(device)
    assert result.return_value == 0
    first, ids, bars, registers = result.stdout.splitlines()
    assert first == "function reset: done"
    assert (ids, bars) == ("ids: ok: as before", "BARs: ok: as before")
    assert registers.startswith("registers: ok: ")
    assert registers.endswith(" at their values after a reset")


def test_what_refuses_a_way_is_said() -> None:
    result = reset("mock:minimal", "--method", "hot")
    assert result.return_value == 1
    assert result.stdout == (
        "hot reset: refused: it sits on the software platform's root bus, which nothing resets: No such device\n"
    )
    with pytest.raises(UsageError, match="not opened"):
        CliRunner().invoke(cli, ["reset", "report:x"], standalone_mode=False, catch_exceptions=False)


def test_each_way_in_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The function refuses a function reset as a kernel does; others on its bus are named before the hot reset."""
    from vfio_ims.device import Device

    def refuse(device: Device, method: ResetMethod = ResetMethod.FUNCTION) -> None:
        raise DeviceError(method.value, device=device.name, why=f"no {method.name}", errno=25)

    others = (AffectedFunction("0000:01:00.0", True, 7), AffectedFunction("0000:01:00.1", False, 8))
    monkeypatch.setattr(Device, "reset", refuse)
    monkeypatch.setattr(Device, "hot_reset_scope", lambda device: others)
    result = reset("mock:minimal")
    assert result.return_value == 1
    assert result.stdout.splitlines() == [
        "function reset: refused: no FUNCTION: Inappropriate ioctl for device",
        "a hot reset takes along: 0000:01:00.0 (ours), 0000:01:00.1 (not ours: it will be refused)",
        "hot reset: refused: no HOT: Inappropriate ioctl for device",
        "power cycle through D3hot: refused: no D3: Inappropriate ioctl for device",
    ]
    answer = json.loads(reset("mock:minimal", "--json").stdout)
    assert answer["schema"] == "vfio-ims/reset"
    assert [one["done"] for one in answer["attempts"]] == [False] * 3
    assert answer["hot_reset_takes_along"][1] == {"address": "0000:01:00.1", "owned": False, "group": 8}


def test_a_device_that_does_not_come_back_as_it_should() -> None:
    with vfio_ims.open("mock:intel-dsa") as device:
        before = Before.of(device)
        device.config.memory = True
        assert attempt(device, ResetMethod.FUNCTION).done
        device.config.memory = True
        Bar0(device.bar(0).window).GENCFG.write(read_buffer_limit=3)
        wrong = replace(before, identity={**before.identity, "revision": 0xAB}, bars=(1, *before.bars[1:]))
        ids, bars, registers = verify(device, wrong, {0: Bar0})
        assert (ids.ok, bars.ok, registers.ok) == (False, False, False)
        assert ids.text.endswith(", was ab")
        assert bars.text.endswith(", was 00000001")
        assert registers.text.startswith("GENCFG is ")
        assert verify(device, before, {})[2].ok is None


def test_registers_that_are_declared_with_repeat_are_looked_at_too() -> None:
    """A table of entries with a reset value each; the device leaves two entries as they were."""

    class Entry(Block):
        DATA = Register(0x08)
        CONTROL = Register(0x0C, reset=1)

    class Table(Block):
        ID = Register(0x00, access="ro", reset=0x494D_5331)
        SLOT = Repeat(Entry, offset=0x1000, count=16, stride=16)

    with vfio_ims.open("mock:minimal") as device:
        before = Before.of(device)
        assert attempt(device, ResetMethod.FUNCTION).done
        device.config.memory = True
        whole = verify(device, before, {0: Table})[2]
        assert (whole.ok, whole.text) == (True, "33 at their values after a reset")
        for number in (3, 15):
            Table(device.bar(0).window).SLOT[number].DATA.write(0xAB)
        broken = verify(device, before, {0: Table})[2]
        assert (broken.ok, broken.text) == (False, "SLOT[3].DATA is ab, not 0; SLOT[15].DATA is ab, not 0")
        for number in range(16):
            Table(device.bar(0).window).SLOT[number].DATA.write(0xAB)
        assert verify(device, before, {0: Table})[2].text.endswith("SLOT[7].DATA is ab, not 0; and 8 more")


def test_over_vfio_user(tmp_path: Path) -> None:
    from vfio_ims.drivers.minimal.model import MinimalModel
    from vfio_ims.vfio_user.server import Server

    path = f"{tmp_path}/s.sock"
    with Server(MinimalModel(), path), vfio_ims.open(f"vfio-user:{path}") as device:
        assert affected(device) == ()
        refused = attempt(device, ResetMethod.HOT)
        assert not refused.done
        assert "root bus" in refused.why
        before = Before.of(device)
        assert attempt(device, ResetMethod.FUNCTION).done
        assert all(one.ok is not False for one in verify(device, before, {}))

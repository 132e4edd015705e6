# SPDX-License-Identifier: Apache-2.0
"""Any 64 bytes at a portal of the modelled DSA and IAA: the model reports an error or does it, and goes on."""

from __future__ import annotations

import logging

import pytest

from tests.fuzz.budget import Budget
from tests.fuzz.mutate import damaged, number
from tests.intel_idxd.conftest import model_of, mounted
from tests.intel_idxd.memory import PAGE, arena
from vfio_ims.drivers.intel_idxd.hardware.registers import Bar0


@pytest.mark.parametrize("device", ["intel-dsa", "intel-iaa"])
def test_any_descriptor_is_done_or_reported(device: str, caplog: pytest.LogCaptureFixture) -> None:
    budget = Budget(f"descriptors of {device}", most=400)
    with mounted("mock", device) as driver, caplog.at_level(logging.ERROR):
        model, memory = model_of(driver), arena(driver, 16 * PAGE)
        portal, region = 0, 2
        for rng in budget.rounds():
            fields = bytearray(rng.randbytes(64) if rng.random() < 0.1 else bytes(64))
            fields[4:8] = (rng.getrandbits(24) & number(rng, 24) | rng.randrange(256) << 24).to_bytes(4, "little")
            for at in (8, 16, 24, 40, 48, 56):
                near = memory.at(rng.randrange(16 * PAGE) & ~rng.choice((0, 31, 4095)))
                value = near if rng.random() < 0.8 else number(rng, 64)
                fields[at : at + 8] = (value if at < 40 or rng.random() < 0.3 else 0).to_bytes(8, "little")
            fields[32:36] = (number(rng, 32) % (8 * PAGE)).to_bytes(4, "little")
            whole = bytes(fields) if rng.random() < 0.9 else (damaged(rng, bytes(fields)) + bytes(64))[:64]
            with model.lock:
                model.write(region, portal, whole)
                model.act()
            budget.figures["descriptors"] += 1
            if rng.random() < 0.05:
                driver.device.bar(0).read32(Bar0.GENSTS.offset)
        assert any(memory.all), "none was done"
        driver.reset()
        with driver.wq(0) as wq:
            if device == "intel-dsa":
                assert wq.fill(memory.at(0), b"\x5a", PAGE).ok
                assert memory.take(0, PAGE) == b"\x5a" * PAGE
    assert not [record.getMessage() for record in caplog.records]

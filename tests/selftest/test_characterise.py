# SPDX-License-Identifier: Apache-2.0
"""What only silicon can tell is asked of models whose answer is known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from tests.selftest.devices import PASIDS, TestedModel, make_model, open_model
from vfio_ims.errors import UsageError
from vfio_ims.ims import SlotArray
from vfio_ims.messages import Slot
from vfio_ims.models.slot_store import SlotStore
from vfio_ims.ports.values import IrqIndex, IrqSet
from vfio_ims.selftest import Options, Survival, characterise, check_idle

FAST = Options(timeout=0.2, settle=0.005)


def test_control_words_resets_and_conditions() -> None:
    opened = open_model(make_model(64, 2, **PASIDS))
    found = characterise(opened.driver, options=FAST)
    assert found.slots == 64
    assert found.control is not None
    assert found.control.probed == (0, 1, 32, 63)
    assert found.control.writable == 0xFFFF_F00D  # PASID, its enable, ignore, mask; pending is read-only
    assert found.control.ones == 0
    assert found.control.alike
    assert found.control.reset == ((1, ("0-63",)),)
    assert found.survivals == (
        Survival("driver's stop and start", message=False, masked=True),
        Survival("function reset", message=False, masked=True),
    )
    raised = {trial.condition: trial.raised for trial in found.trials}
    assert raised == {
        "donor's MSI-X vector control 0x0": True,
        "donor masked in the MSI-X table": None,  # VFIO has no way to
        "entry without PASID, work without PASID": True,
        "entry without PASID, work with PASID 421": False,
        "entry that ignores PASIDs, work without PASID": True,
        "entry that ignores PASIDs, work with PASID 421": True,
    }
    assert "VFIO has no mask for MSI-X" in found.trials[1].text
    assert check_idle(opened.driver, 0.005) == ()
    assert not list(opened.platform.faults)
    with opened.driver.ims.allocate() as interrupt:
        opened.driver.fire(interrupt.slot)
        assert interrupt.wait(timeout=1)


class Odd(SlotStore):
    """Awake after a reset, which keeps messages; bit 31 of the control word always reads 1, in the upper half."""

    def __init__(self, layout: Any, send: Any) -> None:
        super().__init__(layout, send, reset_masked=False)

    def reset(self) -> None:
        kept = {index: self.slot(index).message for index in range(self.layout.count)} if self.ready else {}
        super().reset()
        for index, message in kept.items():
            for at, word in ((self.layout.low, message.address), (self.layout.data, message.data)):
                place = index * self.layout.stride + at
                self._memory[place : place + 4] = word.to_bytes(4, "little")

    def load(self, offset: int, size: int) -> bytes:
        data = super().load(offset, size)
        high = offset % 16 == 12 and offset >= self.layout.size // 2
        return (int.from_bytes(data, "little") | (1 << 31 if high else 0)).to_bytes(size, "little")

    ready = False


class OddModel(TestedModel):
    def _slot_store(self, layout: Any) -> SlotStore:
        store = Odd(layout, self.send)
        store.ready = True
        return store


def test_odd_silicon_is_described_as_it_is() -> None:
    opened = open_model(make_model(8, 2, base=OddModel))
    found = characterise(opened.driver, options=FAST)
    assert found.control is not None
    assert not found.control.alike
    assert found.control.reset == ((0, ("0-3",)), (1 << 31, ("4-7",)))
    assert [(each.message, each.masked) for each in found.survivals] == [(True, False)] * 2
    text = str(found)
    assert "slots 0, 1, 4, 7, which differ" in text
    assert "function reset: message kept, mask clear" in text


def test_a_device_without_reset_or_control_word() -> None:
    opened = open_model(make_model(4, 2, mask=None, pending=None, control=None), flr=False)
    found = characterise(opened.driver, options=FAST)
    assert found.control is None
    assert found.notes == ("control word: not applicable, the table is no array of entries with one",)
    assert found.survivals[1] == Survival("function reset", None, None, "the function has none")
    assert found.survivals[0].masked is None
    assert check_idle(opened.driver, 0.005) == ()


def test_a_table_of_one_slot() -> None:
    found = characterise(open_model(make_model(1, 1)).driver, options=FAST)
    assert found.control is not None
    assert found.control.probed == (0,)
    assert [trial.raised for trial in found.trials] == [True, None]


def test_a_donor_is_masked_where_vfio_can(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = open_model(make_model(4, 2)).driver
    port, asked = driver.device.port, []
    real = port.set_irqs

    def set_irqs(index: int, flags: int, start: int, count: int, data: Sequence[int] = ()) -> None:
        if flags & (IrqSet.ACTION_MASK | IrqSet.ACTION_UNMASK):
            asked.append((IrqIndex(index), IrqSet(flags), start, count))
        else:
            real(index, flags, start, count, data)

    monkeypatch.setattr(port, "set_irqs", set_irqs)
    found = characterise(driver, options=FAST)
    assert [trial.condition for trial in found.trials][1:] == ["donor masked in the MSI-X table"]
    assert found.trials[1].raised, "this model's slots do not look at the donor's mask"
    assert [flags for _, flags, *_ in asked] == [
        IrqSet.DATA_NONE | IrqSet.ACTION_MASK,
        IrqSet.DATA_NONE | IrqSet.ACTION_UNMASK,
    ]


def test_as_json() -> None:
    opened = open_model(make_model(4, 2))
    content = json.loads(json.dumps(characterise(opened.driver, options=FAST).to_json()))
    assert content["schema"] == 1
    assert content["control_word"]["writable"] == 1
    assert content["control_word"]["reset_values"] == [{"value": 1, "slots": ["0-3"]}]
    assert content["survivals"][0]["way"] == "driver's stop and start"
    assert content["trials"][1]["raised"] is None


def test_a_failure_in_between_leaves_entries_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_model(make_model(4, 2))
    driver = opened.driver
    real, calls = driver.stop, iter([True])

    def stop() -> None:
        if next(calls, False):
            raise KeyboardInterrupt
        real()

    monkeypatch.setattr(driver, "stop", stop)
    with pytest.raises(KeyboardInterrupt):
        characterise(driver, options=FAST)
    assert check_idle(driver, 0.005) == ()
    assert [opened.model.slots.slot(index) for index in range(4)] == [Slot()] * 4


def test_ctrl_c_between_the_probes_of_control_words_leaves_entries_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_model(make_model(4, 2))
    bar, table = opened.driver.device.bar(0), opened.driver.ims.table
    assert isinstance(table, SlotArray)
    control, real = table.layout.at(3) + 12, bar.write32

    def write32(offset: int, value: int) -> None:
        real(offset, value)
        if (offset, value) == (control, 0):
            raise KeyboardInterrupt

    monkeypatch.setattr(bar, "write32", write32)
    with pytest.raises(KeyboardInterrupt):
        characterise(opened.driver, options=FAST)
    assert check_idle(opened.driver, 0.005) == ()
    assert [opened.model.slots.slot(index) for index in range(4)] == [Slot()] * 4


def test_a_table_in_use_is_refused() -> None:
    driver = open_model(make_model(4, 2)).driver
    driver.ims.allocate()
    with pytest.raises(UsageError, match="in use"):
        characterise(driver)

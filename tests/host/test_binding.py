# SPDX-License-Identifier: Apache-2.0
"""Binding gives a function to VFIO or leaves everything as it was; restoring brings back exactly what was there."""

from __future__ import annotations

import json
import os
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.host.box import DSA, IAA, NIC, Box
from tests.host.fake_kernel import FakeKernel, state
from vfio_ims.errors import AccessDenied, DeviceBusy, DeviceError, SetupError
from vfio_ims.host.binder import Binder
from vfio_ims.host.binding import Binding, steps_between
from vfio_ims.host.planning import Plan
from vfio_ims.sysfs import Function


def binder(box: Box, **more: object) -> Binder:
    return Binder(box.machine, writer=FakeKernel(box.machine, **more))  # type: ignore[arg-type]


def function(box: Box, address: str = DSA) -> Function:
    found = box.machine.function(address)
    assert found is not None
    return found


def bind(box: Box, address: str = DSA, *, siblings: bool = False, force: bool = False, **more: object) -> Plan:
    binding = binder(box, **more)
    plan = binding.plan_bind([function(box, address)], siblings=siblings)
    binding.carry_out(plan, force=force)
    return plan


@pytest.fixture
def ready(box: Box) -> Box:
    box.vfio()
    box.tree.driver("idxd")
    box.dsa()
    return box


def test_bind_and_restore(ready: Box) -> None:
    before = state(ready.root)
    plan = bind(ready)
    assert [str(step) for step in plan.steps] == [
        f"echo vfio-pci > /sys/bus/pci/devices/{DSA}/driver_override",
        f"echo {DSA} > /sys/bus/pci/drivers/idxd/unbind",
        f"echo {DSA} > /sys/bus/pci/drivers/vfio-pci/bind",
    ]
    assert state(ready.root)[DSA] == ("vfio-pci", "vfio-pci", None)
    (restored,) = binder(ready).restore()
    assert (restored.done, restored.text) == (True, "back to idxd")
    assert state(ready.root) == before
    assert binder(ready).restore() == []  # nothing left to do


def test_bound_already_is_nothing_to_do(ready: Box) -> None:
    bind(ready)
    assert bind(ready).changes == ()
    assert len(binder(ready).restore()) == 1


def test_an_override_of_another_tool_comes_back(ready: Box) -> None:
    ready.dsa(IAA, driver="idxd", override="idxd", group=24)
    ready.dsa("0000:6a:03.0", driver=None, override="something", group=25)
    before = state(ready.root)
    for address in (IAA, "0000:6a:03.0"):
        bind(ready, address)
    assert all(one.done for one in binder(ready).restore())
    assert state(ready.root) == before


def test_the_first_state_is_what_comes_back(ready: Box) -> None:
    before = state(ready.root)
    bind(ready)
    unbinder = binder(ready)
    unbinder.carry_out(unbinder.plan_unbind([function(ready)]))
    assert state(ready.root)[DSA][0] is None
    bind(ready)
    binder(ready).restore()
    assert state(ready.root) == before


def test_siblings_block_until_they_come_along(ready: Box) -> None:
    ready.dsa(IAA, group=23)
    ready.tree.function("0000:6a:00.0", "8086:1111", class_code=0x060400, driver="pcieport", group=23)
    before = state(ready.root)
    with pytest.raises(SetupError) as refused:
        bind(ready)
    assert f"{IAA} (driver idxd) would block it" in str(refused.value)
    assert refused.value.hint == f"vfio-ims bind {DSA} --group binds these too"
    bind(ready, siblings=True)
    assert [state(ready.root)[address][0] for address in (DSA, IAA, "0000:6a:00.0")] == [
        "vfio-pci",
        "vfio-pci",
        "pcieport",
    ]
    binder(ready).restore()
    assert state(ready.root) == before


def test_in_use_is_refused_unless_forced(ready: Box) -> None:
    ready.tree.driver("igb")
    ready.tree.function(NIC, "8086:1521", driver="igb", group=3)
    ready.interface(NIC, "eth0")
    with pytest.raises(DeviceBusy) as refused:
        bind(ready, NIC)
    assert "network interface eth0 is up and has an address" in str(refused.value)
    assert "--force" in refused.value.hint
    assert state(ready.root)[NIC][0] == "igb"
    bind(ready, NIC, force=True)
    assert state(ready.root)[NIC][0] == "vfio-pci"


def test_an_open_device_is_not_taken_away(ready: Box) -> None:
    bind(ready)
    ready.process(99, "qemu", "/dev/vfio/23")
    with pytest.raises(DeviceBusy, match=r"process 99 \(qemu\) has it open"):
        binder(ready).restore()


def test_a_node_that_udev_only_names_is_not_in_use(ready: Box) -> None:
    """udev's workers hold a new node by O_PATH while they set its mode: that opens nothing."""
    before = state(ready.root)[DSA]
    bind(ready)
    ready.process(99, "(udev-worker)", "/dev/vfio/23", flags=os.O_PATH)
    binder(ready).restore()
    assert state(ready.root)[DSA] == before


def test_an_old_kernels_idxd_is_not_touched_lightly(ready: Box) -> None:
    ready.file("proc/sys/kernel/osrelease", "5.13.4")
    with pytest.raises(DeviceBusy, match=r"can crash Linux 5\.13\.4"):
        bind(ready)


def test_a_module_that_is_not_loaded(box: Box) -> None:
    box.dsa()
    with pytest.raises(SetupError) as refused:
        bind(box)
    assert refused.value.hint == "sudo modprobe vfio-pci"


def test_the_denylist_is_seen_beforehand(ready: Box) -> None:
    ready.vfio(denylist=True)
    ready.dsa(ids="8086:0b25")
    with pytest.raises(SetupError) as refused:
        bind(ready)
    assert "denylist has 8086:0b25" in str(refused.value)
    assert "disable_denylist=1" in refused.value.hint


def test_a_denylist_that_could_not_be_seen_rolls_back(ready: Box) -> None:
    ready.dsa(ids="8086:0b25")
    (ready.root / "sys/module/vfio_pci/parameters/disable_denylist").unlink()
    before = state(ready.root)
    with pytest.raises(SetupError, match="denylist has 8086:0b25"):
        bind(ready)
    assert state(ready.root) == before
    assert binder(ready).journal.entries() == []


@pytest.mark.parametrize("deaf", ["driver_override", "unbind", "bind"])
def test_a_write_without_effect_is_noticed_and_rolled_back(ready: Box, deaf: str) -> None:
    before = state(ready.root)
    with pytest.raises(SetupError) as refused:
        bind(ready, deaf=(f"vfio-pci/{deaf}" if deaf == "bind" else deaf,))
    assert "the kernel took" in str(refused.value)
    assert state(ready.root) == before


def test_a_roll_back_that_fails_says_so_and_keeps_the_journal(ready: Box) -> None:
    with pytest.raises(SetupError) as refused:
        bind(ready, deaf=("/bind",))
    assert "Putting back what was there failed too" in str(refused.value)
    assert "vfio-ims restore" in refused.value.hint
    assert binder(ready).restore()[0].done
    assert state(ready.root)[DSA] == ("idxd", "(null)", None)


def test_no_iommu_bridge_and_gone(ready: Box) -> None:
    ready.tree.function("0000:01:00.0", "8086:1521", driver="igb")
    ready.tree.function("0000:00:1c.0", "8086:9d10", class_code=0x060400, group=4)
    for address, why in (("0000:01:00.0", "no IOMMU"), ("0000:00:1c.0", "bridge")):
        with pytest.raises(SetupError, match=why):
            bind(ready, address)


def test_virtual_functions_go_and_come_back(ready: Box) -> None:
    kernel = FakeKernel(ready.machine)
    kernel.tree.driver("igb")
    ready.tree.function(NIC, "8086:1521", driver="igb", group=3)
    ready.tree.file(f"bus/pci/devices/{NIC}/sriov_numvfs", "0")
    kernel.put(f"bus/pci/devices/{NIC}/sriov_numvfs", "2")
    kernel.put("bus/pci/drivers/igb/unbind", "0000:17:00.2")
    kernel.put("bus/pci/devices/0000:17:00.2/driver_override", "vfio-pci")
    kernel.put("bus/pci/drivers/vfio-pci/bind", "0000:17:00.2")
    before = state(ready.root)
    with pytest.raises(DeviceBusy, match="2 virtual functions would vanish"):
        bind(ready, NIC)
    bind(ready, NIC, force=True)
    assert "0000:17:00.1" not in state(ready.root)
    assert state(ready.root)[NIC] == ("vfio-pci", "vfio-pci", "0")
    assert binder(ready).restore()[0].done
    assert state(ready.root) == before


def test_after_a_reboot_there_is_nothing_to_restore(ready: Box) -> None:
    bind(ready)
    ready.file("proc/sys/kernel/random/boot_id", "another")
    after = state(ready.root)
    (restored,) = binder(ready).restore()
    assert restored.done
    assert "started anew since" in restored.text
    assert state(ready.root) == after
    assert binder(ready).restore() == []


def test_gone_or_another_device(ready: Box) -> None:
    bind(ready)
    ready.tree.file(f"bus/pci/devices/{DSA}/device", "0x1212")
    assert "another device" in binder(ready).restore()[0].text
    ready.dsa()
    (ready.root / "sys/bus/pci/devices" / DSA / "driver").unlink()
    bind(ready)
    (ready.root / "sys/bus/pci/devices" / DSA).unlink()
    assert "gone" in binder(ready).restore()[0].text


def test_what_cannot_be_restored_yet_keeps_its_entry(ready: Box) -> None:
    bind(ready)
    idxd = ready.root / "sys/bus/pci/drivers/idxd"
    (idxd / "bind").rename(idxd / "hidden")
    (failed,) = binder(ready).restore()
    assert not failed.done
    assert "the driver has gone" in failed.text
    (idxd / "hidden").rename(idxd / "bind")
    assert binder(ready).restore()[0].done


def test_a_plan_writes_nothing(ready: Box) -> None:
    before = state(ready.root)
    binding = binder(ready)
    assert binding.plan_bind([function(ready)]).steps
    assert state(ready.root) == before
    assert not (ready.root / "run").exists()


def test_without_privilege(ready: Box) -> None:
    class Refusing(FakeKernel):
        def put(self, path: str, text: str) -> None:
            raise PermissionError(13, "no", path)

    binding = Binder(ready.machine, writer=Refusing(ready.machine))
    with pytest.raises(AccessDenied) as refused:
        binding.carry_out(binding.plan_bind([function(ready)]))
    assert refused.value.hint == "the same command with sudo"


def test_an_unknown_answer_of_the_kernels_is_reported(ready: Box) -> None:
    class Broken(FakeKernel):
        def put(self, path: str, text: str) -> None:
            if path.endswith("/bind"):
                raise OSError(5, "io")
            super().put(path, text)

    binding = Binder(ready.machine, writer=Broken(ready.machine))
    with pytest.raises(DeviceError, match="Input/output error"):
        binding.carry_out(binding.plan_bind([function(ready)]))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "not what this version wrote"),
        ('{"format": 2}', "another format"),
        ('{"format": 1}', "not what this version wrote"),
    ],
)
def test_a_damaged_journal_is_reported_not_obeyed(ready: Box, text: str, why: str) -> None:
    ready.file(f"run/vfio-ims/bindings/{DSA}.json", text)
    with pytest.raises(SetupError, match=why):
        binder(ready).restore()


def test_a_driver_outside_of_the_drivers_folder_is_refused(ready: Box) -> None:
    bind(ready)
    place = ready.root / f"run/vfio-ims/bindings/{DSA}.json"
    entry = json.loads(place.read_text())
    entry["before"]["driver"] = "../../../../tmp/evil"
    place.write_text(json.dumps(entry))
    with pytest.raises(SetupError, match="no driver's name"):
        binder(ready).restore()


def test_a_journal_that_others_may_write_is_not_obeyed(ready: Box) -> None:
    folder = ready.root / "run/vfio-ims/bindings"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    with pytest.raises(SetupError, match="others may write to it"):
        bind(ready)


def killed(box: Box, at: float, what: str, *addresses: str) -> bool:
    """Do it in another process, which is killed at that write; False: it ended before."""
    child = os.fork()
    if child == 0:
        try:
            binding = binder(box, kill_at=at)
            if what == "bind":
                plan = binding.plan_bind([function(box, address) for address in addresses], siblings=True)
                binding.carry_out(plan, force=True)
            else:
                binding.restore(force=True)
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status != 0


def test_kill_9_at_any_write_then_restore(ready: Box) -> None:
    ready.dsa(IAA, group=23, override="idxd")
    ready.tree.driver("igb")
    ready.tree.function(NIC, "8086:1521", driver="igb", group=3)
    ready.tree.file(f"bus/pci/devices/{NIC}/sriov_numvfs", "0")
    FakeKernel(ready.machine).put(f"bus/pci/devices/{NIC}/sriov_numvfs", "1")
    before = state(ready.root)
    at, points = 0.0, 0
    while killed(ready, at, "bind", DSA, NIC):
        points += 1
        if at == 4.5:  # and the restoring is killed, too
            assert killed(ready, 1.5, "restore")
        assert all(one.done for one in binder(ready).restore())
        assert state(ready.root) == before, f"killed at write {at}"
        at += 0.5
    assert points == 20  # before and after each of ten writes
    assert state(ready.root) != before
    binder(ready).restore()
    assert state(ready.root) == before


names = st.sampled_from([None, "idxd", "vfio-pci"])
bindings = st.builds(Binding, names, names, st.sampled_from([None, 0, 2]))


@given(bindings, bindings)
def test_any_state_is_reached_from_any_other(now: Binding, wanted: Binding) -> None:
    """Followed by a kernel that refuses what a real one refuses."""
    if (now.virtual is None) != (wanted.virtual is None):
        return
    if any(one.virtual and not one.driver for one in (now, wanted)):
        return
    driver, override, virtual = now.driver, now.override, now.virtual
    for step in steps_between(DSA, now, wanted):
        if step.checks == "override":
            override = step.text.strip() or None
        elif step.checks == "virtual":
            assert driver
            assert not (virtual and int(step.text))
            virtual = int(step.text)
        elif step.path.endswith("/unbind"):
            assert step.path == f"bus/pci/drivers/{driver}/unbind"
            assert not virtual
            driver = None
        else:
            assert driver is None
            driver = step.path.split("/")[3]
            assert override in (None, driver)
    assert Binding(driver, override, virtual) == wanted

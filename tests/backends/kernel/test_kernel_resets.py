# SPDX-License-Identifier: Apache-2.0
"""Hot reset, features and the CPUs of vectors through both interfaces, over a kernel of our own."""

from __future__ import annotations

import errno
import os
from collections import deque
from pathlib import Path
from typing import Any

import pytest

from tests.backends.kernel.conftest import Open
from tests.backends.kernel.fake_kernel import BDF
from vfio_ims.backends.kernel.affinity import read_affinity, write_affinity
from vfio_ims.errors import AccessDenied, DeviceBusy, UnsupportedError, UsageError
from vfio_ims.pci import PciAddress
from vfio_ims.ports.values import AffectedFunction, DeviceFeature, FeatureFlags, IrqIndex
from vfio_ims.sysfs import Function

SIBLING = "0000:6a:01.1"


def test_the_functions_of_the_bus_are_named(kernel: Any, opened: Open, interface: str) -> None:
    kernel.add()
    kernel.add(SIBLING, 13, cdev=4)
    kernel.add("0000:6b:00.0", 14, cdev=5)
    group = (12, 13) if interface == "type1" else (None, None)
    with opened() as port:
        mine, other = AffectedFunction(BDF, True, group[0]), AffectedFunction(SIBLING, False, group[1])
        assert port.hot_reset_scope() == (mine, other)
        with opened(SIBLING, space=port.space):
            assert [one.owned for one in port.hot_reset_scope()] == [True, True]


def test_more_functions_than_expected_are_asked_for_again(kernel: Any, opened: Open) -> None:
    kernel.add()
    for number in range(1, 120):
        kernel.add(f"0000:6a:{1 + number // 8:02x}.{number % 8}", 12, cdev=3 + number)
    with opened() as port:
        assert len(port.hot_reset_scope()) == 120


def test_a_hot_reset_resets_the_bus(kernel: Any, opened: Open) -> None:
    first, second = kernel.add(), kernel.add(SIBLING, 13, cdev=4)
    with opened() as port, opened(SIBLING, space=port.space):
        port.hot_reset()
        assert (first.hot_resets, second.hot_resets) == (1, 1)


def test_a_hot_reset_names_the_functions_that_are_not_ours(kernel: Any, opened: Open) -> None:
    kernel.add()
    second = kernel.add(SIBLING, 13, driver="idxd", cdev=None)
    with opened() as port, pytest.raises(DeviceBusy) as caught:
        port.hot_reset()
    assert f"{SIBLING} (driver idxd)" in caught.value.why
    assert BDF not in caught.value.why
    assert f"share={BDF}" in caught.value.hint
    assert caught.value.errno == errno.EINVAL
    assert second.hot_resets == 0


def test_a_function_on_a_root_bus_has_no_hot_reset(kernel: Any, opened: Open) -> None:
    kernel.add().bus_resets = False
    with opened() as port:
        for verb in (port.hot_reset_scope, port.hot_reset):
            with pytest.raises(UnsupportedError, match="root bus"):
                verb()


def test_a_hot_reset_is_tried_again_while_the_bus_is_locked(kernel: Any, opened: Open) -> None:
    function = kernel.add()
    with opened() as port:
        kernel.fail["DEVICE_HOT_RESET"] = deque([errno.EAGAIN] * 3)
        port.hot_reset()
    assert function.hot_resets == 1


def test_a_feature_reaches_the_kernel_as_it_is(kernel: Any, opened: Open) -> None:
    function = kernel.add()
    with opened() as port:
        port.feature(FeatureFlags.SET | DeviceFeature.LOW_POWER_ENTRY)
        assert port.feature(FeatureFlags.SET | 4, b"\x07\0\0\0\0\0\0\0") == b"\x07\0\0\0\0\0\0\0"
        assert function.features == [(1 << 17 | 3, b""), (1 << 17 | 4, b"\x07\0\0\0\0\0\0\0")]
        kernel.fail["DEVICE_FEATURE"] = deque([errno.ENOTTY, errno.EINVAL])
        with pytest.raises(UnsupportedError, match="use feature LOW_POWER_EXIT"):
            port.feature(FeatureFlags.SET | DeviceFeature.LOW_POWER_EXIT)
        with pytest.raises(UsageError, match="use feature 99"):
            port.feature(FeatureFlags.GET | 99)


# --- CPUs of vectors --------------------------------------------------------------------------------------------------


@pytest.fixture
def irqs(tmp_path: Path) -> tuple[Function, Path]:
    """A function with MSI-X vectors 0 and 1 as interrupts 41 and 40, and the folder that stands for /proc."""
    sysfs, proc = tmp_path / "sys", tmp_path / "proc"
    folder = sysfs / "bus/pci/devices" / BDF
    (folder / "msi_irqs").mkdir(parents=True)
    (folder / "irq").write_text("9\n")
    for number, action in ((40, f"vfio-msix[1]({BDF})"), (41, f"vfio-msix[0]({BDF})")):
        (folder / "msi_irqs" / str(number)).write_text("msix\n")
        (sysfs / "kernel/irq" / str(number)).mkdir(parents=True)
        (sysfs / "kernel/irq" / str(number) / "actions").write_text(f"{action}\n")
        (proc / "irq" / str(number)).mkdir(parents=True)
        (proc / "irq" / str(number) / "smp_affinity_list").write_text("0-2,5\n")
        (proc / "irq" / str(number) / "effective_affinity_list").write_text("2\n")
    (proc / "irq/9" / f"vfio-intx({BDF})").mkdir(parents=True)
    (proc / "irq/9/smp_affinity_list").write_text("0-5\n")
    return Function(PciAddress.parse(BDF), sysfs), proc


def test_a_vectors_cpus_are_read(irqs: tuple[Function, Path]) -> None:
    found = read_affinity(irqs[0], IrqIndex.MSIX, 0, irqs[1])
    assert found.allowed == {0, 1, 2, 5}
    assert found.effective == {2}
    line = read_affinity(irqs[0], IrqIndex.INTX, 0, irqs[1])
    assert line.allowed == line.effective == {0, 1, 2, 3, 4, 5}, "a kernel without effective affinity"


def test_a_vectors_cpus_are_set(irqs: tuple[Function, Path]) -> None:
    function, proc = irqs
    os.truncate(proc / "irq/40/smp_affinity_list", 0)
    write_affinity(function, IrqIndex.MSIX, 1, {3, 1}, proc)
    assert (proc / "irq/40/smp_affinity_list").read_text() == "1,3"
    assert (proc / "irq/41/smp_affinity_list").read_text() == "0-2,5\n"


def test_a_vector_that_is_not_attached_has_no_cpus(irqs: tuple[Function, Path]) -> None:
    with pytest.raises(UsageError, match=r"no interrupt vfio-msix\[2\]"):
        read_affinity(irqs[0], IrqIndex.MSIX, 2, irqs[1])
    with pytest.raises(UnsupportedError, match="only INTx, MSI and MSI-X"):
        read_affinity(irqs[0], IrqIndex.ERR, 0, irqs[1])


@pytest.mark.parametrize(
    ("code", "kind", "says"),
    [
        (errno.EACCES, AccessDenied, "only root may write"),
        (errno.EROFS, AccessDenied, "mounted read-only"),
        (errno.EINVAL, UsageError, "none of these CPUs is online"),
        (errno.EIO, UnsupportedError, "manages this interrupt's CPUs itself"),
    ],
)
def test_a_refused_move_says_why(
    irqs: tuple[Function, Path], monkeypatch: pytest.MonkeyPatch, code: int, kind: type[Exception], says: str
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(code, "scripted")

    monkeypatch.setattr(os, "write", refuse)
    with pytest.raises(kind, match=says) as caught:
        write_affinity(irqs[0], IrqIndex.MSIX, 0, {1}, irqs[1])
    assert "move vector 0 to CPU 1" in str(caught.value)
    monkeypatch.undo()


# --- counted errors ---------------------------------------------------------------------------------------------------


def test_the_kernels_counts_of_errors_are_read(kernel: Any, opened: Open) -> None:
    kernel.add()
    folder = kernel.sys / "bus/pci/devices" / BDF
    with opened() as port:
        assert port.error_counts() == {}
        (folder / "aer_dev_correctable").write_text("RxErr 3\nBadTLP 0\nTOTAL_ERR_COR 3\n")
        (folder / "aer_dev_nonfatal").write_text("CmpltTO 1\nTOTAL_ERR_NONFATAL 1\n")
        assert port.error_counts() == {"nonfatal CmpltTO": 1, "correctable RxErr": 3}

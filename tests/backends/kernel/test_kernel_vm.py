# SPDX-License-Identifier: Apache-2.0
"""The kernel's backends on a real kernel: in_guest.py in guests of the VM lab, with functions that are QEMU's own."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import pytest

from tests.vm.lab import Guest
from tests.vm.pieces import need_vm
from tests.vm.platforms import INTEL, INTEL_NOREMAP, INTEL_SCALABLE, Platform
from vfio_ims.testing.server import ServedModel

HERE = Path(__file__).parent
FUNCTIONS = [
    {"driver": "nvme", "serial": "lab"},
    {"driver": "edu"},
    {"driver": "pci-testdev"},
    # Two functions of one slot without ACS: one group.
    {"driver": "edu", "addr": "1a.0", "multifunction": True},
    {"driver": "virtio-rng-pci", "addr": "1a.1"},
]
BIND = """
cd /sys/bus/pci
for folder in devices/*; do
  case $(cat $folder/vendor):$(cat $folder/device) in 0x1b36:0x0010|0x1234:0x11e8|0x1b36:0x0005)
    name=${folder##*/}
    echo vfio-pci > $folder/driver_override
    if [ -e $folder/driver ]; then echo $name > $folder/driver/unbind; fi
    echo $name > drivers_probe;;
  esac
done
exec "$@"
"""


@pytest.fixture(scope="module", autouse=True)
def _provisioned() -> None:
    need_vm()


@pytest.mark.parametrize("platform", [INTEL, INTEL_SCALABLE, INTEL_NOREMAP], ids=lambda one: one.name)
def test_the_backends_on_a_real_kernel(platform: Platform) -> None:
    with Guest(platform, FUNCTIONS, driver=None) as guest:
        suite = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "pytest_timeout"]
        alone = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # plug-ins are slow to import under emulation
        result = guest.run(["sh", "-ec", BIND, "sh", *suite, str(HERE / "in_guest.py")], env=alone, timeout=240)
    assert result.returncode == 0, str(result)
    assert " passed" in result.stdout
    assert "skipped" not in result.stdout


REFUSED = """
import sys
from vfio_ims.backends.kernel.opening import open_kernel
from vfio_ims.errors import SetupError
for interface in ("type1", "iommufd"):
    try:
        open_kernel("0000:00:10.0", iommu=interface).close()
    except SetupError as error:
        print(error.hint.rsplit(" ", 1)[1])
"""


def test_without_remapping_the_refusal_names_the_parameters() -> None:
    strict = dataclasses.replace(INTEL_NOREMAP, kernel=("intel_iommu=on,sm_off",))
    with Guest(strict, [{"driver": "edu"}]) as guest:
        result = guest.run([sys.executable, "-c", REFUSED])
    assert result.stdout.split() == [
        "vfio_iommu_type1.allow_unsafe_interrupts=1",
        "iommufd.allow_unsafe_interrupts=1",
    ], result


def test_pasids_on_a_real_iommufd(tmp_path: Path) -> None:
    model = ServedModel("intel-dsa", tmp_path)
    try:
        # vfio-pci takes this DSA only where it is configured to (its erratum: INTEL-SA-01084).
        with Guest(INTEL_SCALABLE, [model.path], kernel_options=["vfio_pci.disable_denylist=1"]) as guest:
            result = guest.run([sys.executable, "-W", "error", str(HERE / "pasids_in_guest.py")])
    finally:
        model.close()
    assert result.stdout == "done\n", result
    assert "WARNING" not in result.console, result

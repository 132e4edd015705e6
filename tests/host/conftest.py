# SPDX-License-Identifier: Apache-2.0
"""The machines that tests look at."""

import os
from pathlib import Path

import pytest

from tests.host.box import Box
from tests.pci.dumps import SPR_DSA, SPR_DSA_NO_DVSEC


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


@pytest.fixture(scope="session")
def two_thousand(tmp_path_factory: pytest.TempPathFactory) -> Box:
    """As many functions, a quarter of them DSAs with the DVSEC, the others without one. To be read only."""
    box = Box(tmp_path_factory.mktemp("large"))
    root = box.tree.root
    box.tree.function("0000:ff:00.0", "8086:11fb", driver="idxd", group=9999, config=SPR_DSA)
    box.tree.driver("mlx5_core")
    model = root / "devices/pci0000:00/0000:ff:00.0"
    own = ("vendor", "device", "config")
    same = [place for place in model.iterdir() if place.is_file() and place.name not in own]
    box.tree.file("kinds/0/config", SPR_DSA)
    box.tree.file("kinds/1/config", SPR_DSA_NO_DVSEC)
    box.tree.file("kinds/0/vendor", "0x8086")
    box.tree.file("kinds/0/device", "0x11fb")
    box.tree.file("kinds/1/vendor", "0x15b3")
    box.tree.file("kinds/1/device", "0x1017")
    for number in range(1999):
        address = f"0000:{number >> 8:02x}:{number >> 3 & 0x1F:02x}.{number & 7}"
        kind, driver = (0, "idxd") if number % 4 == 0 else (1, "mlx5_core")
        folder = root / "devices/pci0000:00" / address
        members = root / f"kernel/iommu_groups/{number}/devices"
        folder.mkdir()
        members.mkdir(parents=True)
        for place in (*same, *(root / f"kinds/{kind}/{name}" for name in own)):
            os.link(place, folder / place.name)
        os.symlink(f"../../../bus/pci/drivers/{driver}", folder / "driver")
        os.symlink(f"../../../kernel/iommu_groups/{number}", folder / "iommu_group")
        os.symlink(f"../../../devices/pci0000:00/{address}", root / "bus/pci/devices" / address)
        os.symlink(f"../../../../devices/pci0000:00/{address}", members / address)
    return box

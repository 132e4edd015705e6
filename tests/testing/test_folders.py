# SPDX-License-Identifier: Apache-2.0
"""A family's driver must not import its model: in flat folders and in folders with packages inside."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vfio_ims.families import Family
from vfio_ims.testing.folders import folder_problems

DECLARED = Family("toy", ids=["1234:1a55"], driver="driver:Toy", models={"toy": "model:ToyModel"}, package="toy_family")
SHARED = {"hardware/__init__.py": "", "hardware/tables.py": ""}
PACKAGES = {"driver/__init__.py": "from .device import Toy", "model/__init__.py": "from .device import ToyModel"}


@pytest.fixture
def family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a family, to be filled."""
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "toy_family"
    folder.mkdir()
    (folder / "__init__.py").touch()
    yield folder
    sys.modules.pop("toy_family", None)


def fill(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("files", "path"),
    [
        ({"driver.py": "from .model import A"}, "driver -> model"),
        ({"driver.py": "from . import tables", "tables.py": "import toy_family.model"}, "driver -> tables -> model"),
        (PACKAGES | {"driver/device.py": "from ..model import A"}, "driver -> driver.device -> model"),
        (PACKAGES | {"driver/device.py": "from ..model.state import A"}, "driver -> driver.device -> model"),
        (PACKAGES | {"driver/device.py": "from .. import model"}, "driver -> driver.device -> model"),
        (
            PACKAGES
            | {"driver/device.py": "from ..hardware import tables", "hardware/tables.py": "from ..model import A"},
            "driver -> driver.device -> hardware.tables -> model",
        ),
        (
            PACKAGES
            | {"driver/device.py": "from ..hardware.tables import A", "hardware/__init__.py": "from ..model import A"},
            "driver -> driver.device -> hardware -> model",
        ),
    ],
)
def test_a_driver_that_imports_its_model_is_found(family: Path, files: dict[str, str], path: str) -> None:
    fill(family, {"model.py": ""} if "model/__init__.py" not in files else {})
    fill(family, files)
    assert folder_problems(DECLARED) == f"family toy: the driver must not import the model: {path}"


def test_a_driver_may_share_with_its_model_and_name_it_for_types(family: Path) -> None:
    typing = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..model import A\n"
    fill(family, PACKAGES | SHARED | {"driver/device.py": f"{typing}from ..hardware.tables import A"})
    fill(family, {"model/device.py": "from ..hardware.tables import A"})
    assert folder_problems(DECLARED) == ""

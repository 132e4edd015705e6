# SPDX-License-Identifier: Apache-2.0
"""Driver folders that are loaded by hand: ``--driver PATH``."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from vfio_ims.authors import describe_failure
from vfio_ims.errors import SetupError
from vfio_ims.families.declaration import declared, warn_of_twins
from vfio_ims.families.family import Family, folder_of
from vfio_ims.families.installed import installed

_private: list[Family] = []


def all_families() -> list[Family]:
    """Every family: private folders first, then installed ones (entry points in group ``vfio_ims.drivers``), then ours.

    A family that fails to load is skipped with a warning by name, so that one broken plug-in does not hide the rest.
    """
    return [*_private, *installed()]


def load_folder(path: str | Path) -> Family:
    """Load a private driver folder; from now on it comes first. SetupError where it is none.

    Warns (RuntimeWarning) where another folder declares the same name, id or model: this one hides that.
    """
    folder = Path(path).resolve()
    inside = [child.parent.name for child in sorted(folder.glob("*/__init__.py"))]
    hint = "family = Family(...) in its __init__.py: docs/writing-a-driver.md"
    if inside:
        hint = f"name one of the folders in it: {', '.join(f'{path}/{name}' for name in inside)}"
    if not (folder / "__init__.py").is_file():
        raise SetupError(f"load the driver folder {path}", why="it has no __init__.py", hint=hint)
    name = _module_name(folder)
    family = declared(sys.modules[name]) if name in sys.modules else _run(name, folder, hint)
    if family not in _private:
        warn_of_twins(family, all_families())
        _private.insert(0, family)
    return family


def _run(name: str, folder: Path, hint: str) -> Family:
    """Import the folder as a package called ``name``."""
    operation = f"load the driver folder {folder}"
    start = folder / "__init__.py"
    spec = importlib.util.spec_from_file_location(name, start, submodule_search_locations=[str(folder)])
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        if not isinstance(getattr(module, "family", None), Family):
            raise SetupError(operation, why="it declares no family", hint=hint)
        return declared(module)
    except BaseException as failure:
        del sys.modules[name]
        if isinstance(failure, SetupError) or not isinstance(failure, Exception):
            raise
        raise SetupError(operation, why=describe_failure(failure, [folder]), hint=hint) from failure


def _module_name(folder: Path) -> str:
    """The name of its module: the folder's, with a number where another folder of that name was loaded before."""
    plain = name = f"vfio_ims_private_{folder.name}"
    number = 1
    while name in sys.modules and folder_of(name) != folder:
        number += 1
        name = f"{plain}_{number}"
    return name


def private_folders() -> list[Path]:
    """The driver folders that were loaded by hand."""
    return [folder_of(family.package) for family in _private]

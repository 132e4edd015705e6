# SPDX-License-Identifier: Apache-2.0
"""Which families there are: in the package, through entry points, and in private folders."""

from __future__ import annotations

import importlib.util
import pkgutil
import sys
from dataclasses import replace
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from vfio_ims.driver import Family
from vfio_ims.errors import SetupError, UsageError, explain_unknown

__all__ = ["all_families", "family_for", "family_of_model", "load_folder"]

_GROUP = "vfio_ims.drivers"
_private: list[Family] = []


def all_families() -> list[Family]:
    """Every family: private folders first, then installed ones (entry points in group ``vfio_ims.drivers``), then ours.

    A family that fails to load is skipped with a warning by name, so that one broken plug-in does not hide the rest.
    """
    return [*_private, *_installed()]


@cache
def _installed() -> tuple[Family, ...]:
    """Looked up once a process: reading every distribution's entry points takes milliseconds."""
    import vfio_ims.drivers as ours

    found: list[Family] = []
    for point in entry_points(group=_GROUP):
        try:
            found.append(_declared(import_module(point.module)))
        except Exception as failure:  # noqa: BLE001 - a stranger's module may raise anything
            import warnings

            warnings.warn(f"driver plug-in {point.name} does not load: {failure}", RuntimeWarning, stacklevel=2)
    for module in pkgutil.iter_modules(ours.__path__):
        if module.ispkg:
            found.append(_declared(import_module(f"{ours.__name__}.{module.name}")))
    return tuple(found)


def _declared(module: ModuleType) -> Family:
    family = getattr(module, "family", None)
    if not isinstance(family, Family):
        raise SetupError(
            f"load the driver folder {module.__name__}",
            why="it declares no family",
            hint="family = Family(...) in its __init__.py",
        )
    return replace(family, package=module.__name__)


def load_folder(path: str | Path) -> Family:
    """Load a private driver folder; from now on it comes first. SetupError where it is none."""
    folder = Path(path).resolve()
    start = folder / "__init__.py"
    if not start.is_file():
        raise SetupError(f"load the driver folder {path}", why="it has no __init__.py", hint="docs/writing-a-driver.md")
    name = f"vfio_ims_private_{folder.name}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, start, submodule_search_locations=[str(folder)])
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    family = _declared(sys.modules[name])
    if family not in _private:
        _private.insert(0, family)
    return family


def family_for(vendor: int, device: int, name: str = "") -> Family:
    """The family that knows this id; SetupError where none does."""
    families = all_families()
    for family in families:
        if family.matches(vendor, device):
            return family
    known = ", ".join(family.name for family in families)
    raise SetupError(
        "find a driver",
        device=name or None,
        why=f"no family knows {vendor:04x}:{device:04x}; there are {known}",
        hint="vfio_ims.open(name) gives the bare device; --driver PATH loads a private driver folder",
    )


def family_of_model(model: str) -> Family:
    """The family that has the model called ``model``; UsageError names those there are."""
    families = all_families()
    for family in families:
        if model in family.models:
            return family
    names = [name for family in families for name in family.models]
    raise UsageError(f"make the model {model}", why=explain_unknown("model", model, names))

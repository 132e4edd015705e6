# SPDX-License-Identifier: Apache-2.0
"""What a family of devices declares, and which families there are: in the package, installed, in private folders.

A family is a folder: it declares its ids, its driver and its models once; listing, probing, udev rules and docs derive
from that.
"""

from __future__ import annotations

import importlib.util
import pkgutil
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from vfio_ims.authors import describe_failure, missing_class, missing_methods, missing_module
from vfio_ims.errors import SetupError, UsageError, explain_unknown

if TYPE_CHECKING:
    from vfio_ims.models import DeviceModel
    from vfio_ims.registers import Block

__all__ = [
    "Family",
    "all_families",
    "blocks_of",
    "family_for",
    "family_of_model",
    "load_folder",
    "model_names",
    "not_under_test",
    "private_folders",
]

_GROUP = "vfio_ims.drivers"
_ID = re.compile(r"[0-9a-f]{4}:[0-9a-f]{4}")
_CORRECT = "correct that line: docs/writing-a-driver.md"
_PLACE = re.compile(r"\w+(\.\w+)*:\w+")
_private: list[Family] = []


@dataclass(frozen=True)
class Family:
    """Devices that one folder knows.

    ``driver`` and ``models`` name classes as ``module:Class`` inside the folder, so that declaring them loads nothing.
    ``driver`` is a mapping by id where the devices want different classes.
    """

    name: str
    ids: Sequence[str]
    driver: str | Mapping[str, str]
    models: Mapping[str, str] = field(default_factory=dict)
    title: str = ""
    package: str = ""

    def matches(self, vendor: int, device: int) -> bool:
        return f"{vendor:04x}:{device:04x}" in self.ids

    def load_driver(self, device_id: str | None = None) -> type[Any]:
        """The driver's class for ``device_id``, one of ``ids`` (None: the first): a ``vfio_ims.driver.Driver``.

        Raises SetupError where the folder has no such class.
        """
        where = self.driver if isinstance(self.driver, str) else self.driver[device_id or self.ids[0]]
        found = self._load(where)
        if not isinstance(found, type) or not hasattr(found, "start_on"):
            raise self._unfit(where, f"{found!r} is no class derived from vfio_ims.driver.Driver")
        missing = missing_methods(found)
        if missing:
            raise self._unfit(where, missing, "docs/contract.md says what each promises; drivers/minimal has them all")
        return found

    def drivers(self) -> tuple[type[Any], ...]:
        """The classes of every driver of the family. Raises SetupError where the folder lacks one."""
        return tuple({self.load_driver(one) for one in self.ids})

    def load_model(self, name: str) -> type[DeviceModel]:
        """The class of the model called ``name``. Raises SetupError where the folder has no such class."""
        from vfio_ims.models import DeviceModel

        found = self._load(self.models[name])
        if not isinstance(found, type) or not issubclass(found, DeviceModel):
            raise self._unfit(self.models[name], f"{found!r} is no class derived from vfio_ims.models.DeviceModel")
        return found

    def _load(self, where: str) -> object:
        """What ``where`` names. Raises SetupError, whatever the folder's module raises."""
        name, _, attribute = where.partition(":")
        folder = _folder_of(self.package)
        try:
            module = import_module(f"{self.package}.{name}")
        except ModuleNotFoundError as failure:
            if failure.name != f"{self.package}.{name}":
                raise self._unfit(where, describe_failure(failure, [folder]), _CORRECT) from failure
            raise self._unfit(where, missing_module(name, folder)) from failure
        except Exception as failure:
            raise self._unfit(where, describe_failure(failure, [folder]), _CORRECT) from failure
        if not hasattr(module, attribute):
            raise self._unfit(where, missing_class(attribute, module))
        return getattr(module, attribute)

    def _unfit(self, where: str, why: str, hint: str = "") -> SetupError:
        hint = hint or "family = Family(...) in its __init__.py names it: docs/writing-a-driver.md"
        return SetupError(f"load {where} of the driver folder {_folder_of(self.package)}", why=why, hint=hint)


def all_families() -> list[Family]:
    """Every family: private folders first, then installed ones (entry points in group ``vfio_ims.drivers``), then ours.

    A family that fails to load is skipped with a warning by name, so that one broken plug-in does not hide the rest.
    """
    return [*_private, *_installed()]


@cache
def _installed() -> tuple[Family, ...]:
    """Looked up once a process: reading every distribution's entry points takes milliseconds."""
    ours = import_module("vfio_ims.drivers")  # by name: the folders there import this module

    found: list[Family] = []
    for point in entry_points(group=_GROUP):
        try:
            family = _declared(import_module(point.module))
            _warn_of_twins(family, found)
            found.append(family)
        except Exception as failure:  # noqa: BLE001 - a stranger's module may raise anything
            import warnings

            warnings.warn(f"driver plug-in {point.name} does not load: {failure}", RuntimeWarning, stacklevel=2)
    for module in pkgutil.iter_modules(ours.__path__):
        if module.ispkg:
            family = _declared(import_module(f"{ours.__name__}.{module.name}"))
            for other in found:
                _warn_of_twins(other, [family])
            found.append(family)
    return tuple(found)


def _declared(module: ModuleType) -> Family:
    family = getattr(module, "family", None)
    if not isinstance(family, Family):
        raise SetupError(
            f"load the driver folder {module.__name__}",
            why="it declares no family",
            hint="family = Family(...) in its __init__.py",
        )
    fault = _fault(family.name, family.ids, family.driver, family.models)
    if fault:
        operation = f"load the driver folder {module.__name__}"
        raise SetupError(operation, why=fault, hint="family = Family(...) in its __init__.py: docs/writing-a-driver.md")
    return replace(family, package=module.__name__)


def _fault(name: Any, ids: Any, driver: Any, models: Any) -> str:
    """What is wrong with a declaration: its author may have put anything there. "" where nothing is."""
    if not isinstance(name, str) or not name:
        return f"its name must be text, not {name!r}"
    if isinstance(ids, str) or not isinstance(ids, Sequence) or not ids:
        return f"its ids must be a list such as ['1234:1a55'], not {ids!r}"
    for one in ids:
        if not isinstance(one, str) or not _ID.fullmatch(one):
            return f"its ids must be as lspci -n prints them, such as '1234:1a55' in small letters, not {one!r}"
    if not isinstance(models, Mapping) or not all(isinstance(key, str) for key in models):
        return f"its models must be a table of names and classes, not {models!r}"
    if not isinstance(driver, (str, Mapping)):
        return f"its driver must be 'module:Class', or a table of these by id, not {driver!r}"
    missing = [one for one in ids if not isinstance(driver, str) and one not in driver]
    if missing:
        return f"its driver has no class for {', '.join(missing)}"
    for where in (*([driver] if isinstance(driver, str) else driver.values()), *models.values()):
        if not isinstance(where, str) or not _PLACE.fullmatch(where):
            return f"a class must be named as 'module:Class', not {where!r}"
    return ""


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
    family = _declared(sys.modules[name]) if name in sys.modules else _run(name, folder, hint)
    if family not in _private:
        _warn_of_twins(family, all_families())
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
        return _declared(module)
    except BaseException as failure:
        del sys.modules[name]
        if isinstance(failure, SetupError) or not isinstance(failure, Exception):
            raise
        raise SetupError(operation, why=describe_failure(failure, [folder]), hint=hint) from failure


def _module_name(folder: Path) -> str:
    """The name of its module: the folder's, with a number where another folder of that name was loaded before."""
    plain = name = f"vfio_ims_private_{folder.name}"
    number = 1
    while name in sys.modules and _folder_of(name) != folder:
        number += 1
        name = f"{plain}_{number}"
    return name


def _folder_of(module: str) -> Path:
    return Path(str(sys.modules[module].__file__)).resolve().parent


def _warn_of_twins(family: Family, others: Iterable[Family]) -> None:
    """Where two folders declare the same, the one that comes first is used: often it is a copy not yet renamed."""
    import warnings

    for other in others:
        same = [f"family {family.name!r}"] if family.name == other.name else []
        same += [f"id {one}" for one in family.ids if one in other.ids]
        same += [f"model {one!r}" for one in family.models if one in other.models]
        if same:
            first, second = _folder_of(family.package), _folder_of(other.package)
            text = f"{first} and {second} both declare {', '.join(same)}: the first is used"
            warnings.warn(text, RuntimeWarning, stacklevel=3)


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
    hint = "--driver PATH (pytest: --vfio-driver PATH) loads a private driver folder"
    raise UsageError(f"make the model {model}", why=explain_unknown("model", model, model_names()), hint=hint)


def not_under_test(driver: type[Any], name: str, folders: Sequence[str | Path] = ()) -> SetupError | None:
    """The error to raise where ``driver``, which answered for the device ``name``, is not the one under test.

    Under test are the drivers of ``folders``; without any, for ``mock:MODEL``, that of the model's family. None where
    the driver is one of these or nothing says which it must be.
    """
    wanted = [load_folder(folder) for folder in folders]
    if name.startswith("mock:"):
        own = family_of_model(name.removeprefix("mock:").partition(",")[0])
        if own in wanted or not wanted:
            wanted = [own]
    if not wanted or any(issubclass(driver, family.drivers()) for family in wanted):
        return None
    places = ", ".join(str(_folder_of(family.package)) for family in wanted)
    answered = Path(str(sys.modules[driver.__module__].__file__))
    ids = ", ".join(one for family in wanted for one in family.ids)
    return SetupError(
        f"test the driver in {places}",
        device=name,
        why=f"the driver that answered is {driver.__name__} in {answered}; the folder's ids are {ids}",
        hint="the device's id, and that of its model, must be one of the folder's ids",
    )


def private_folders() -> list[Path]:
    """The driver folders that were loaded by hand."""
    return [_folder_of(family.package) for family in _private]


def model_names() -> list[str]:
    """What may follow ``mock:``."""
    return sorted({name for family in all_families() for name in family.models})


def blocks_of(family: Family | None) -> dict[int, type[Block]]:
    """The registers that a family declares: Bar0 to Bar5 of its ``registers`` module, or of ``hardware.registers``."""
    from vfio_ims.registers import Block

    modules = []
    for name in ("registers", "hardware.registers"):
        if family is not None:
            with suppress(ImportError):
                modules.append(import_module(f"{family.package}.{name}"))
    found = {number: getattr(module, f"Bar{number}", None) for module in modules for number in range(6)}
    return {number: one for number, one in found.items() if isinstance(one, type) and issubclass(one, Block)}

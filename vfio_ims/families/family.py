# SPDX-License-Identifier: Apache-2.0
"""A family of devices, as its folder declares it: ids, the driver's class, the models' classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vfio_ims.authors import describe_failure, missing_class, missing_methods, missing_module
from vfio_ims.errors import SetupError

if TYPE_CHECKING:
    from vfio_ims.models import DeviceModel

_CORRECT = "correct that line: docs/writing-a-driver.md"


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
        """Whether the PCI ids ``vendor`` and ``device`` are among its ids."""
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
        folder = folder_of(self.package)
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
        return SetupError(f"load {where} of the driver folder {folder_of(self.package)}", why=why, hint=hint)


def folder_of(module: str) -> Path:
    """Where the package called ``module`` is."""
    return Path(str(import_module(module).__file__)).resolve().parent

# SPDX-License-Identifier: Apache-2.0
"""Which family a device, a model or a test is about."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vfio_ims.errors import SetupError, UsageError, explain_unknown
from vfio_ims.families.family import Family, folder_of
from vfio_ims.families.private import all_families, load_folder

if TYPE_CHECKING:
    from vfio_ims.registers import Block


def family_for(vendor: int, device: int, name: str = "") -> Family:
    """The family that knows the PCI ids ``vendor`` and ``device``; SetupError, with ``name`` in it, where none does."""
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


def model_names() -> list[str]:
    """What may follow ``mock:``."""
    return sorted({name for family in all_families() for name in family.models})


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
    places = ", ".join(str(folder_of(family.package)) for family in wanted)
    answered = Path(str(sys.modules[driver.__module__].__file__))
    ids = ", ".join(one for family in wanted for one in family.ids)
    return SetupError(
        f"test the driver in {places}",
        device=name,
        why=f"the driver that answered is {driver.__name__} in {answered}; the folder's ids are {ids}",
        hint="the device's id, and that of its model, must be one of the folder's ids",
    )


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

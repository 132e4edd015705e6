# SPDX-License-Identifier: Apache-2.0
"""What a driver folder's ``__init__.py`` declares, checked: its author may have put anything there."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

from vfio_ims.errors import SetupError
from vfio_ims.families.family import Family, folder_of

_ID = re.compile(r"[0-9a-f]{4}:[0-9a-f]{4}")
_PLACE = re.compile(r"\w+(\.\w+)*:\w+")


def declared(module: ModuleType) -> Family:
    """The family that ``module`` declares. Raises SetupError where it declares none, or what is wrong."""
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


def warn_of_twins(family: Family, others: Iterable[Family]) -> None:
    """Where two folders declare the same, the one that comes first is used: often it is a copy not yet renamed."""
    for other in others:
        same = [f"family {family.name!r}"] if family.name == other.name else []
        same += [f"id {one}" for one in family.ids if one in other.ids]
        same += [f"model {one!r}" for one in family.models if one in other.models]
        if same:
            first, second = folder_of(family.package), folder_of(other.package)
            text = f"{first} and {second} both declare {', '.join(same)}: the first is used"
            warnings.warn(text, RuntimeWarning, stacklevel=3)

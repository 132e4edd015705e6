# SPDX-License-Identifier: Apache-2.0
"""Families that are installed: by an entry point of a distribution, and our own in ``vfio_ims.drivers``."""

from __future__ import annotations

import pkgutil
import warnings
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points

from vfio_ims.families.declaration import declared, warn_of_twins
from vfio_ims.families.family import Family

_GROUP = "vfio_ims.drivers"


@cache
def installed() -> tuple[Family, ...]:
    """Looked up once a process: reading every distribution's entry points takes milliseconds."""
    ours = import_module("vfio_ims.drivers")  # by name: the folders there import this module

    found: list[Family] = []
    for point in entry_points(group=_GROUP):
        try:
            family = declared(import_module(point.module))
            warn_of_twins(family, found)
            found.append(family)
        except Exception as failure:  # noqa: BLE001 - a stranger's module may raise anything
            warnings.warn(f"driver plug-in {point.name} does not load: {failure}", RuntimeWarning, stacklevel=2)
    for module in pkgutil.iter_modules(ours.__path__):
        if module.ispkg:
            family = declared(import_module(f"{ours.__name__}.{module.name}"))
            for other in found:
                warn_of_twins(other, [family])
            found.append(family)
    return tuple(found)

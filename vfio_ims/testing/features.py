# SPDX-License-Identifier: Apache-2.0
"""The marker ``vfio_feature``: what a test needs of its device, and whether a device has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vfio_ims.counted import counted
from vfio_ims.errors import SetupError, UsageError, explain_unknown

if TYPE_CHECKING:
    import pytest

    from vfio_ims.device import Device

__all__ = ["FEATURE_DESCRIPTION", "NOTHING", "Features", "Needed", "features_of"]

_WORDS = {
    "ims": "usable interrupt slots",
    "mask": "slots with a mask",
    "pending": "slots that show a pending interrupt",
    "pasid": "slots with a PASID",
    "reset": "a function reset",
    "flr": "a function-level reset",
    "remapping": "interrupt remapping",
    "dynamic-msix": "MSI-X vectors that are added one at a time",
}
_NUMBERS = {"slots": "slot", "donors": "donor"}
FEATURE_DESCRIPTION = (
    "vfio_feature(*features, slots=N, donors=N): what a test needs, of "
    + ", ".join(_WORDS)
    + ", and how many slots and donors at least; it is skipped on a device that has it not, as the verdict says, and "
    "runs on a model that has it while no device is named."
)
_HINT = 'write it as @pytest.mark.vfio_feature("mask", "pasid", slots=16, donors=2)'


@dataclass(frozen=True)
class Needed:
    """The features that a test names in all of its markers, and the numbers."""

    features: frozenset[str] = frozenset()
    slots: int = 0
    donors: int = 0

    @classmethod
    def of(cls, item: pytest.Item | pytest.Function) -> Needed:
        """UsageError says what is wrong with a marker."""
        features, numbers = set[str](), dict.fromkeys(_NUMBERS, 0)
        for mark in item.iter_markers("vfio_feature"):
            for name in mark.args:
                if name not in _WORDS:
                    why = explain_unknown("a feature", name, _WORDS)
                    raise UsageError("read the marker vfio_feature", why=why, hint=_HINT)
                features.add(name)
            for name, number in mark.kwargs.items():
                if name not in _NUMBERS:
                    why = explain_unknown("an argument", name, _NUMBERS)
                    raise UsageError("read the marker vfio_feature", why=why, hint=_HINT)
                if type(number) is not int or number < 1:
                    why = f"{name} must be a number from 1, not {number!r}"
                    raise UsageError("read the marker vfio_feature", why=why, hint=_HINT)
                numbers[name] = max(numbers[name], number)
        return cls(frozenset(features), **numbers)

    def __bool__(self) -> bool:
        return bool(self.features or self.slots or self.donors)

    def __str__(self) -> str:
        numbers = [counted(number, word) for word, number in (("slot", self.slots), ("donor", self.donors)) if number]
        return ", ".join([word for word in _WORDS if word in self.features] + numbers)

    def missing(self, name: str, found: Features) -> str:
        """Why the device called ``name`` is none for the test; "" where it has everything."""
        lacks = [_WORDS[feature] for feature in _WORDS if feature in self.features - found.features]
        few = [
            f"{counted(wanted, word)} (it has {has})"
            for word, wanted, has in (("slot", self.slots, found.slots), ("donor", self.donors, found.donors))
            if has < wanted
        ]
        return f"{name} has not what this test needs: {', '.join(lacks + few)}" if lacks or few else ""


NOTHING = Needed()


@dataclass(frozen=True)
class Features:
    """What a device has."""

    features: frozenset[str] = frozenset()
    slots: int = 0
    donors: int = 0


def features_of(name: str) -> Features:
    """Ask the device and, where a family knows it, its driver: opens it, which resets it where it can."""
    from vfio_ims.driver import open_driver
    from vfio_ims.families import family_for
    from vfio_ims.names import open_device
    from vfio_ims.tracing.opening import unrecorded

    with unrecorded():
        with open_device(name) as device:
            vendor, number = device.config.read(0, 2), device.config.read(2, 2)
            bare = _of_device(device)
        try:
            family_for(vendor, number, name)
        except SetupError:  # a device without a driver is one all the same
            return Features(frozenset(bare))
        with open_driver(name) as driver:
            verdict, table = driver.verdict, driver.ims.table
            has = {
                "ims": verdict.usable is True,
                "mask": table.has_mask,
                "pending": table.has_pending,
                "pasid": table.has_pasid,
                "remapping": verdict.link("interrupt remapping").word == "yes",
            }
            links = {link.name: link.word for link in verdict.links}
            has["dynamic-msix"] = links.get("dynamic MSI-X") == "yes"
            found = bare | {word for word, there in has.items() if there}
            return Features(frozenset(found), verdict.slots, verdict.donors)


def _of_device(device: Device) -> set[str]:
    express = device.capabilities.express
    flr = express is not None and express.flr
    return {word for word, there in (("reset", device.can_reset), ("flr", flr)) if there}

# SPDX-License-Identifier: Apache-2.0
"""The marker ``vfio``: which devices a test is for, and where it runs while none is named."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vfio_ims.errors import UsageError
from vfio_ims.testing.features import NOTHING, Needed

if TYPE_CHECKING:
    import pytest

    from vfio_ims.pci.selector import IdSelector

__all__ = ["DESCRIPTION", "MOUNTS", "SIGNATURE", "Wanted"]

MOUNTS = ("mock", "vfio-user")
SIGNATURE = 'vfio(model="minimal", match="8086:0b25", mount="mock")'
DESCRIPTION = (
    "vfio(*, model=..., match=..., mount=...): the devices that a test is for. model: one or several, with options as "
    "after mock:; * is every model. match: ids as lspci -d takes them, 8086:0b25, one or several. mount: where models "
    "run, in process (mock), in a process of their own (vfio-user), or both. A device named by --vfio-device runs the "
    "test if it matches, or is of the model's family."
)


@dataclass(frozen=True)
class Wanted:
    """A marker's arguments, checked. ``matches`` says which named devices, else ``models`` does; both empty: any."""

    models: tuple[str, ...] = ()
    matches: tuple[str, ...] = ()
    mounts: tuple[str, ...] = ("mock",)
    needed: Needed = NOTHING

    @classmethod
    def of(cls, item: pytest.Item | pytest.Function) -> Wanted:
        """The closest marker of a test, and all its ``vfio_feature``; UsageError where their arguments are wrong."""
        mark = item.get_closest_marker("vfio")
        wanted = cls() if mark is None else cls.parse(*mark.args, **mark.kwargs)
        return replace(wanted, needed=Needed.of(item))

    @classmethod
    def parse(cls, *unnamed: object, **given: object) -> Wanted:
        """UsageError says what is wrong, and how the marker is written."""
        if unnamed:
            raise _refusal(f"its arguments must be named, not {unnamed[0]!r}")
        unknown = sorted(given.keys() - {"model", "match", "mount"})
        if unknown:
            raise _refusal(f"it has no argument {unknown[0]!r}")
        wanted = cls(_words("model", given.get("model", ())), _words("match", given.get("match", ())))
        if "mount" in given:
            wanted = replace(wanted, mounts=_words("mount", given["mount"]))
        for mount in wanted.mounts:
            if mount not in MOUNTS:
                raise _refusal(f"mount must be one of {', '.join(MOUNTS)}, not {mount!r}")
        try:
            wanted.selectors()
        except UsageError as error:
            raise _refusal(error.why) from error
        return wanted

    def selectors(self) -> list[IdSelector]:
        from vfio_ims.pci.selector import IdSelector

        return [IdSelector.parse(match) for match in self.matches]

    def __str__(self) -> str:
        return " or ".join(self.matches or self.models) or "any device"


def _words(name: str, value: object) -> tuple[str, ...]:
    words = (value,) if isinstance(value, str) else value
    if not isinstance(words, (tuple, list)) or not all(isinstance(word, str) and word for word in words):
        raise _refusal(f"{name} must be text, or several, not {value!r}")
    return tuple(words)


def _refusal(why: str) -> UsageError:
    return UsageError("read the marker vfio", why=why, hint=f"write it as @pytest.mark.{SIGNATURE}; all are optional")

# SPDX-License-Identifier: Apache-2.0
"""A device's name, read: its mount, what on it, and the options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vfio_ims.errors import UsageError


@dataclass(frozen=True)
class Name:
    """A parsed name: its mount ("kernel", "mock", "vfio-user", "replay"), what on it, and the options after commas."""

    mount: str
    target: str
    options: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Name:
        """UsageError where ``text`` names nothing that could be opened."""
        if not isinstance(text, str):
            raise UsageError("read a device's name", why=f"a name must be text, not {text!r}")
        head, *rest = text.strip().split(",")
        if "" in rest:
            why = f"after each comma an option must follow, as in {head},option=value, not {text!r}"
            raise UsageError("read a device's name", why=why, hint=f"without options: {head}")
        options = _options(head, rest)
        scheme, colon, target = head.partition(":")
        if colon and scheme in ("mock", "vfio-user", "replay"):
            if not target:
                wanted = "a recording's path" if scheme == "replay" else "a socket's path"
                if scheme == "mock":
                    from vfio_ims.families import model_names

                    wanted = f"a model: {', '.join(model_names())}"
                raise UsageError("read a device's name", why=f"{scheme}: must be followed by {wanted}")
            return cls(scheme, target, options)
        if colon and scheme == "report":
            why = "a report can be looked at, not opened"
            raise UsageError("read a device's name", device=text, why=why, hint=f"vfio-ims show {text}")
        from vfio_ims.pci.address import PciAddress

        try:
            return cls("kernel", str(PciAddress.parse(head)), options)
        except UsageError as error:
            raise UsageError(
                "read a device's name",
                why=f"{text!r} is neither a PCI address such as 0000:6a:01.0, "
                "nor mock:MODEL, nor vfio-user:PATH, nor replay:FILE",
                hint="vfio-ims list shows the functions of this machine, vfio-ims demo needs none",
            ) from error

    def __str__(self) -> str:
        options = "".join(f",{key}={value}" if value else f",{key}" for key, value in self.options.items())
        return f"{'' if self.mount == 'kernel' else self.mount + ':'}{self.target}{options}"


def _options(head: str, parts: Sequence[str]) -> dict[str, str]:
    """The options after ``head``. Raises UsageError where one is given twice."""
    options: dict[str, str] = {}
    for part in parts:
        key, _, value = part.partition("=")
        if key in options:
            raise UsageError("read a device's name", device=head, why=f"the option {key} is given twice")
        options[key] = value
    return options

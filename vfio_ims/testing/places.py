# SPDX-License-Identifier: Apache-2.0
"""Where tests run: on the devices that were named, or on models; and why a test does not run on one."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from vfio_ims.errors import UsageError
from vfio_ims.testing.marker import Wanted
from vfio_ims.testing.server import ServedModel

__all__ = ["Ids", "Place", "Places"]

_PCI = Path("/sys/bus/pci/devices")
_DEFAULT, _ALL = "minimal", ("*",)


@dataclass(frozen=True)
class Ids:
    """Vendor, device and the 24-bit class code of a function."""

    vendor: int
    device: int
    class_code: int

    def __str__(self) -> str:
        return f"{self.vendor:04x}:{self.device:04x}"


@dataclass(frozen=True)
class Place:
    """One place for one test.

    ``kind`` "device": ``name`` is a device's, given on the command line; "mock" and "vfio-user": a model to be mounted
    there; "none": there is nothing, and ``name`` says why.
    """

    kind: str
    name: str

    def __str__(self) -> str:
        return self.name if self.kind == "device" else f"{self.kind}:{self.name}" if self.kind != "none" else "none"


@dataclass
class Places:
    """One test run's devices. ``named``: by the user; ``require``: a test without a device fails."""

    named: Sequence[str] = ()
    require: bool = False
    folders: Sequence[str] = ()
    _ids: dict[str, Ids] = field(default_factory=dict)
    _servers: dict[str, ServedModel] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)
    _checked: set[str] = field(default_factory=set)
    _loaded: bool = False

    def load_folders(self) -> None:
        """Load the private driver folders, once, when the first test needs a device."""
        if not self._loaded:
            self._loaded = True
            from vfio_ims.families import load_folder

            for folder in self.folders:
                load_folder(folder)

    # --- which places -------------------------------------------------------------------------------------------------

    def places(self, wanted: Wanted) -> list[Place]:
        """Where a test runs: every named device (``unfit`` says later whether it is one for the test), else models."""
        from vfio_ims.families import all_families

        self.load_folders()
        if self.named:
            return [Place("device", name) for name in self.named]
        if wanted.models == _ALL:
            models = tuple(model for family in all_families() for model in family.models)
        else:
            models = wanted.models or self._models(wanted) or (() if wanted.matches else (_DEFAULT,))
        if not models:
            return [Place("none", f"no device is named, and there is no model of {wanted}")]
        return [Place(mount, model) for mount in wanted.mounts for model in models]

    def check(self, wanted: Wanted) -> None:
        """UsageError where the marker names a model that there is none of."""
        from vfio_ims.families import family_of_model

        self.load_folders()
        for model in wanted.models:
            if wanted.models != _ALL and model not in self._checked:
                family_of_model(model.partition(",")[0])
                self._checked.add(model)

    def check_named(self) -> None:
        """UsageError where a named device's name can be none, such as that of a model that there is not."""
        from vfio_ims.families import family_of_model
        from vfio_ims.names import Name

        self.load_folders()
        for name in self.named:
            parsed = Name.parse(name)
            if parsed.mount == "mock":
                family_of_model(parsed.target)

    def _models(self, wanted: Wanted) -> tuple[str, ...]:
        from vfio_ims.families import all_families

        if not wanted.matches:
            return ()
        return tuple(
            model
            for family in all_families()
            for model in family.models
            if self._matches(wanted, self.ids(f"mock:{model}"))
        )

    @staticmethod
    def _matches(wanted: Wanted, ids: Ids) -> bool:
        return any(found.matches(ids.vendor, ids.device, ids.class_code) for found in wanted.selectors())

    # --- whether a named device is one for a test ---------------------------------------------------------------------

    def unfit(self, name: str, wanted: Wanted) -> str:
        """Why the device called ``name`` is none for a test that wants ``wanted``; "" where it is one."""
        self.load_folders()
        plain = [model for model in wanted.models if "," not in model]
        if wanted.models and not plain and not wanted.matches:
            return f"{name} is as it is, this test is for mock:{wanted.models[0]}"
        ids = self.ids(name)
        if wanted.matches:
            fits = self._matches(wanted, ids)
        else:
            fits = wanted.models in ((), _ALL) or any(self._belongs(model, ids) for model in plain)
        return "" if fits else f"{name} is {ids}, this test is for {wanted}"

    def _belongs(self, model: str, ids: Ids) -> bool:
        """Whether ``ids`` are the model's, or its family's and driven by the same class."""
        from vfio_ims.families import family_of_model

        family = family_of_model(model)
        if not family.matches(ids.vendor, ids.device):
            return False
        return (
            isinstance(family.driver, str) or family.driver[str(ids)] == family.driver[str(self.ids(f"mock:{model}"))]
        )

    def homeless(self, wanted: Wanted) -> str:
        """Why no named device is one for the test; "" where one is."""
        reasons = [self.unfit(name, wanted) for name in self.named]
        return "" if "" in reasons else "; ".join(reasons)

    def ids(self, name: str) -> Ids:
        """What the device called ``name`` is: from sysfs where it knows, else by opening it bare."""
        if name not in self._ids:
            self._ids[name] = _ids_of(name)
        return self._ids[name]

    def under_test(self, place: Place) -> tuple[str, Sequence[str]]:
        """The name of the place's device or model, and the folders of which one must hold its driver."""
        from vfio_ims.families import family_of_model, load_folder

        if place.kind == "device":
            return place.name, self.folders
        private = [load_folder(folder) for folder in self.folders]
        model = place.name.partition(",")[0]
        return f"mock:{model}", self.folders if family_of_model(model) in private else ()

    # --- models in processes of their own -----------------------------------------------------------------------------

    def name_of(self, place: Place) -> str:
        """The name that opens the place. Starts the model's server, once, where it needs one."""
        if place.kind == "device":
            return place.name
        if place.kind == "mock":
            return f"mock:{place.name}"
        model, host = _apart(place.name)
        server = self._servers.get(model)
        if server is None or not server.alive:
            directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="vfio-ims-")))
            server = self._servers[model] = ServedModel(model, directory, self.folders)
            self._stack.callback(server.close)
        return server.name + host

    def close(self) -> None:
        self._servers.clear()
        self._stack.close()


def _apart(name: str) -> tuple[str, str]:
    """A model with its own options, and those of the platform, which is the client's: ``",platform=amd"``."""
    from vfio_ims.names import PLATFORM_OPTIONS

    model, *options = name.split(",")
    ours = [option for option in options if option.partition("=")[0] in PLATFORM_OPTIONS]
    theirs = [option for option in options if option not in ours]
    return ",".join([model, *theirs]), "".join(f",{option}" for option in ours)


def _ids_of(name: str) -> Ids:
    from vfio_ims.names import Name, open_device
    from vfio_ims.tracing.opening import unrecorded

    parsed = Name.parse(name)
    if parsed.mount == "kernel":
        files = [_PCI / parsed.target / part for part in ("vendor", "device", "class")]
        try:
            return Ids(*(int(file.read_text(), 16) for file in files))
        except OSError as error:
            why = "there is no such PCI function here" if not files[0].parent.exists() else ""
            raise UsageError("look up a device", device=name, why=why, errno=error.errno) from error
    with unrecorded(), open_device(name) as opened:
        header = opened.config.snapshot().header
    return Ids(header.vendor, header.device, header.class_code)

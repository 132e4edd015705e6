# SPDX-License-Identifier: Apache-2.0
"""Where tests run: on the devices that were named, or on models; and why a test does not run on one."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from vfio_ims.errors import UsageError
from vfio_ims.testing.features import Features, Needed, features_of
from vfio_ims.testing.marker import Wanted
from vfio_ims.testing.named import Ids, check_name, ids_of, mount_of
from vfio_ims.testing.server import ServedModel

__all__ = ["Place", "Places"]

_DEFAULT, _ALL = "minimal", ("*",)


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
    _features: dict[str, Features] = field(default_factory=dict)
    _places: dict[Place, Place] = field(default_factory=dict)
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
            return [self._place("device", name) for name in self.named]
        every = tuple(model for family in all_families() for model in family.models)
        if wanted.models == _ALL:
            models = every
        elif wanted.needed and not wanted.models and not wanted.matches:
            models = self._first_with(wanted.needed, [_DEFAULT, *every])
            if not models:
                return [
                    self._place("none", f"no device is named, and no model has what this test needs: {wanted.needed}")
                ]
        else:
            models = wanted.models or self._models(wanted) or (() if wanted.matches else (_DEFAULT,))
        if not models:
            return [self._place("none", f"no device is named, and there is no model of {wanted}")]
        return [self._place(mount, model) for mount in wanted.mounts for model in models]

    def _first_with(self, needed: Needed, models: Sequence[str]) -> tuple[str, ...]:
        """The first model that has what is needed."""
        has = (model for model in models if not needed.missing("", self.features(f"mock:{model}")))
        return tuple(islice(has, 1))

    def _place(self, kind: str, name: str) -> Place:
        """One object a place: a fixture that is open there serves the next test there."""
        place = Place(kind, name)
        return self._places.setdefault(place, place)

    def check(self, wanted: Wanted) -> None:
        """UsageError where the marker names a model that there is none of."""
        from vfio_ims.families import family_of_model

        self.load_folders()
        for model in wanted.models:
            if wanted.models != _ALL and model not in self._checked:
                family_of_model(model.partition(",")[0])
                self._checked.add(model)

    def check_named(self) -> None:
        """UsageError where a named device can be none: no such function, model, option, socket."""
        self.load_folders()
        for name in self.named:
            check_name(name)

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
        """Why the device called ``name`` is none for a test that wants ``wanted``; "" where it is one.

        May open the device.
        """
        other = self._other(name, wanted)
        return other or (wanted.needed.missing(name, self.features(name)) if wanted.needed else "")

    def features(self, name: str) -> Features:
        """What the device called ``name`` has; it is opened once."""
        if name not in self._features:
            self._features[name] = features_of(name)
        return self._features[name]

    def lacks(self, place: Place, wanted: Wanted) -> str:
        """Why a model is none for a test; "" where it is one."""
        return wanted.needed.missing(str(place), self.features(f"mock:{place.name}")) if wanted.needed else ""

    def _other(self, name: str, wanted: Wanted) -> str:
        """That ``name`` is another device than those which a test is for."""
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

    def known_unfit(self, name: str, wanted: Wanted) -> bool:
        """Whether that is known without opening a device that others may use."""
        try:
            mount = mount_of(name)
            if mount == "mock" or name in self._features:
                return bool(self.unfit(name, wanted))
            return (mount != "vfio-user" or name in self._ids) and bool(self._other(name, wanted))
        except UsageError:  # the run ends by it, and pytest still asks what was collected
            return False

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
            self._ids[name] = ids_of(name)
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

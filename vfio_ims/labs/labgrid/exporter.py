# SPDX-License-Identifier: Apache-2.0
"""``vfio-ims-labgrid-exporter``: labgrid's exporter, which lends functions out as well. Its arguments are labgrid's.

In its resources: ``PCIFunction`` with ``address`` (and ``iommu``, ``owner``), ``VfioModel`` with ``model``. On acquire
the function is bound to vfio-pci, or the model's server started; on release it is reset and goes back to the driver
that had it. So it does where the exporter ends, also killed (``keeper``).
"""

from __future__ import annotations

import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import attr
from labgrid.remote import exporter
from labgrid.remote.exporter import ResourceExport

from vfio_ims.labs.kept import Kept
from vfio_ims.pci import PciAddress

__all__ = ["FunctionExport", "ModelExport", "main"]

_LOOK_EVERY = 2.0  # seconds between reads of a card's config space
_DEVICES = Path("/sys/bus/pci/devices")


class _Local:
    """What labgrid polls: whether the resource can be lent out."""

    def __init__(self) -> None:
        self.avail = True

    def poll(self) -> None:
        """Nothing: its owner looks."""


@attr.s(eq=False)
class _KeptExport(ResourceExport):
    """A resource behind a keeper, which lives while a place has it."""

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.local = _Local()
        self.kept: Kept | None = None

    def _start(self, start_params: dict[str, Any]) -> None:
        self.kept = Kept(*self._arguments())

    def _stop(self, start_params: dict[str, Any]) -> None:
        kept, self.kept = self.kept, None
        if kept is not None:
            kept.close()

    def _arguments(self) -> list[str]:
        raise NotImplementedError


@attr.s(eq=False)
class FunctionExport(_KeptExport):
    """A PCI function. It is broken, and lent out no more, where its config space reads as ones: the card is gone."""

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.data["cls"] = "NetworkPCIFunction"
        self.address = str(PciAddress.parse(self.local_params["address"]))
        self._looked = -_LOOK_EVERY
        self._id = ""

    def _arguments(self) -> list[str]:
        owner = self.local_params.get("owner")
        return ["function", self.address, *([owner] if owner else [])]

    def _get_params(self) -> dict[str, Any]:
        iommu = self.local_params.get("iommu", "auto")
        return {
            "host": self.host,
            "address": self.address,
            "iommu": iommu,
            "pci_id": self._id,
            "kernel": platform.release(),
        }

    def poll(self) -> bool:
        """Look at the card now and then."""
        if self.broken is None and time.monotonic() - self._looked >= _LOOK_EVERY:
            self._looked = time.monotonic()
            self._look()
        return bool(super().poll())

    def _look(self) -> None:
        try:
            with open(_DEVICES / self.address / "config", "rb") as config:
                vendor, device = (int.from_bytes(config.read(2), "little") for _ in range(2))
        except OSError:
            self.local.avail = False  # unplugged; it may come back
            return
        self.local.avail = True
        if vendor == 0xFFFF:
            if self.start_params is not None:
                self.stop()
            self.broken = "the card does not answer: its config space reads as ones"
            return
        self._id = f"{vendor:04x}:{device:04x}"


@attr.s(eq=False)
class ModelExport(_KeptExport):
    """A model, served while a place has it. Its server's end makes it unavailable until the place is released."""

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.data["cls"] = "NetworkVfioModel"
        self._folder = tempfile.TemporaryDirectory(prefix="vfio-ims-")  # mode 0700

    @property
    def socket(self) -> str:
        return os.path.join(self._folder.name, "model.sock")

    def _arguments(self) -> list[str]:
        return ["model", self.local_params["model"], self.socket]

    def _get_params(self) -> dict[str, Any]:
        return {"host": self.host, "model": self.local_params["model"], "socket": self.socket}

    def poll(self) -> bool:
        """Look whether the server lives."""
        if self.kept is not None and not self.kept.alive:
            self.logger.error("the server of %s has ended", self.local_params["model"])
            self.kept, self.start_params, self.local.avail = None, None, False
        elif not self.acquired:
            self.local.avail = True
        return bool(super().poll())


exporter.exports["PCIFunction"] = FunctionExport
exporter.exports["VfioModel"] = ModelExport


def main() -> None:
    """The console script."""
    exporter.main()


if __name__ == "__main__":
    main()

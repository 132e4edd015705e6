# SPDX-License-Identifier: Apache-2.0
"""jumpstarter's drivers: a PCI function of the exporter's machine, and a device model in its place.

In an exporter's configuration: ``type: vfio_ims.labs.jumpstarter.driver.VfioFunction`` with ``config: {address: ...}``.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from jumpstarter.driver import Driver, export

from vfio_ims.errors import VfioImsError
from vfio_ims.labs.kept import Kept
from vfio_ims.labs.remote_function import RemoteFunction

__all__ = ["VfioFunction", "VfioModel"]


@dataclass(kw_only=True)
class _VfioDriver(Driver):
    """What both have: the calls of ``RemoteFunction``."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._opened: RemoteFunction | None = None

    @classmethod
    def client(cls) -> str:
        return "vfio_ims.labs.jumpstarter.client.VfioClient"

    def _name(self) -> str:
        """What opens the device here, once it is there to be opened."""
        raise NotImplementedError

    def _function(self) -> RemoteFunction:
        if self._opened is None:
            self._opened = RemoteFunction(self._name())
        return self._opened

    @export
    def info(self) -> dict[str, Any]:
        """What it is, and where."""
        return self._function().info()

    @export
    def batch(self, operations: list[Any]) -> list[int | None]:
        """Accesses in order; see ``RemoteFunction.batch``."""
        return self._function().batch([[_whole(part) for part in operation] for operation in operations])

    @export
    def reset_function(self) -> None:
        """The function's own reset; ``reset`` is jumpstarter's, between leases."""
        self._function().reset()

    @export
    def listen(self, vector: int) -> None:
        """Attach an event to an MSI-X vector."""
        self._function().listen(int(vector))

    @export
    def wait_interrupt(self, vector: int, seconds: float) -> bool:
        """Whether the vector was raised since the last call."""
        return self._function().wait_interrupt(int(vector), seconds)

    @export
    def interrupts(self, vector: int, seconds: float) -> Generator[bool, None, None]:
        """A stream: True for each wake-up of the vector, until none came for so many seconds."""
        function = self._function()
        while function.wait_interrupt(int(vector), seconds):
            yield True

    @export
    def selftest(self, options: dict[str, Any]) -> dict[str, Any]:
        """The self-test, and its report."""
        return self._function().selftest({name: _whole(value) for name, value in options.items()})

    def reset(self) -> None:
        """Close the device, which resets it; the next call opens it anew."""
        if self._opened is not None:
            self._opened.close()
        super().reset()

    def close(self) -> None:
        """Close the device, and give it back."""
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.close()
        super().close()


def _whole(value: Any) -> Any:
    """Numbers cross as floating point: those without a fraction are whole ones again."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


@dataclass(kw_only=True)
class VfioFunction(_VfioDriver):
    """A PCI function, bound to vfio-pci from its first use to the driver's end; killed too (``keeper``).

    ``address``: such as 0000:6a:01.0; ``iommu``: auto, type1, iommufd; ``bind`` False: it is bound already, and stays.
    """

    address: str
    iommu: str = "auto"
    bind: bool = True
    _kept: Kept | None = field(default=None, init=False)

    def _name(self) -> str:
        if self.bind and self._kept is None:
            self._kept = Kept("function", self.address)
        return f"{self.address},iommu={self.iommu}"

    def close(self) -> None:
        super().close()
        kept, self._kept = self._kept, None
        if kept is not None:
            with suppress(VfioImsError):  # the journal has it: vfio-ims restore
                kept.close()


@dataclass(kw_only=True)
class VfioModel(_VfioDriver):
    """A device model in the exporter's process: a lab without hardware. ``model``: such as intel-dsa."""

    model: str

    def _name(self) -> str:
        return f"mock:{self.model}"

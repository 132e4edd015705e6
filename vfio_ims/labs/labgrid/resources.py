# SPDX-License-Identifier: Apache-2.0
"""labgrid's resources: a PCI function, or a model in its place. ``device_name`` is what opens each on its host."""

from __future__ import annotations

import attr
from labgrid.factory import target_factory
from labgrid.resource.common import NetworkResource, Resource

__all__ = ["NetworkPCIFunction", "NetworkVfioModel", "PCIFunction", "VfioModel"]

_text = attr.validators.instance_of(str)


@target_factory.reg_resource
@attr.s(eq=False)
class PCIFunction(Resource):
    """A function of this machine, which is bound to vfio-pci already.

    Args:
        address (str): such as 0000:6a:01.0
        iommu (str): which of VFIO's interfaces, auto, type1 or iommufd

    """

    address: str = attr.ib(validator=_text)
    iommu: str = attr.ib(default="auto", validator=_text)

    @property
    def device_name(self) -> str:
        return f"{self.address},iommu={self.iommu}"


@target_factory.reg_resource
@attr.s(eq=False)
class NetworkPCIFunction(NetworkResource):
    """A function of another machine, as its exporter says. It is bound to vfio-pci while a place is acquired."""

    address: str = attr.ib(validator=_text)
    iommu: str = attr.ib(default="auto", validator=_text)
    pci_id: str = attr.ib(default="", validator=_text)
    kernel: str = attr.ib(default="", validator=_text)

    @property
    def device_name(self) -> str:
        return f"{self.address},iommu={self.iommu}"


@target_factory.reg_resource
@attr.s(eq=False)
class VfioModel(Resource):
    """A device model in the test's own process, options after commas as in ``mock:MODEL``.

    Args:
        model (str): such as intel-dsa

    """

    model: str = attr.ib(validator=_text)

    @property
    def device_name(self) -> str:
        return f"mock:{self.model}"


@target_factory.reg_resource
@attr.s(eq=False)
class NetworkVfioModel(NetworkResource):
    """A device model that an exporter serves on ``socket`` of its machine: a place without hardware."""

    model: str = attr.ib(validator=_text)
    socket: str = attr.ib(validator=_text)

    @property
    def device_name(self) -> str:
        return f"vfio-user:{self.socket}"

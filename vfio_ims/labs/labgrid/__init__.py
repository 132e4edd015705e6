# SPDX-License-Identifier: Apache-2.0
"""For labgrid: resources, a driver and an exporter. In an environment's YAML: ``imports: [vfio_ims.labs.labgrid]``."""

from importlib.util import find_spec

if find_spec("labgrid") is None:
    raise ImportError("labgrid is not installed: pip install 'vfio-ims[labgrid]'")

from vfio_ims.labs.labgrid.driver import VfioDriver
from vfio_ims.labs.labgrid.power import PCISlotPowerDriver
from vfio_ims.labs.labgrid.resources import NetworkPCIFunction, NetworkVfioModel, PCIFunction, VfioModel

__all__ = ["NetworkPCIFunction", "NetworkVfioModel", "PCIFunction", "PCISlotPowerDriver", "VfioDriver", "VfioModel"]

# SPDX-License-Identifier: Apache-2.0
"""Names of devices: what to open, on which mount, with which options.

``0000:6a:01.0[,iommu=type1|iommufd|none][,vf_token=UUID][,donors=msi][,config=FD]``     bound to vfio-pci
``mock:MODEL[,option=value]...``           a model in this process, on a software platform
``vfio-user:PATH[,option=value]...``       a vfio-user server's socket; a bare device there is on a software platform
``replay:FILE[,order=register][,ignore=REGISTER+...]``     what was recorded of a device; ``vfio_ims.tracing``

A platform's options: ``platform``, ``merge``, ``remapping``, ``dynamic``, ``mappable``, ``page``, ``config``,
``donors``, ``seed``, ``bdf``; the others are the model's own. ``donors``: which vectors slots copy. ``config``: a
descriptor of the function's ``config`` in sysfs that root opened, where the message of MSI vectors is read.
Every device takes ``fault=FAULT[+FAULT]...``: what goes wrong with it; ``vfio_ims.faults``.
"""

from vfio_ims.names.name import Name
from vfio_ims.names.opening import open_device, open_port
from vfio_ims.names.options import PLATFORM_OPTIONS, software_options
from vfio_ims.names.passed import open_fd

__all__ = ["PLATFORM_OPTIONS", "Name", "open_device", "open_fd", "open_port", "software_options"]

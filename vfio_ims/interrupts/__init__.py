# SPDX-License-Identifier: Apache-2.0
"""INTx, MSI and MSI-X vectors and waiting for them; the donor vectors, whose messages IMS slots copy."""

from vfio_ims.interrupts.donor_pool import DonorPool, ReservedVectors
from vfio_ims.interrupts.donor_vector import DonorVector
from vfio_ims.interrupts.hub import EventHub
from vfio_ims.interrupts.msix import MsixVectors
from vfio_ims.interrupts.standard import Interrupts
from vfio_ims.interrupts.vector import VectorInterrupt
from vfio_ims.interrupts.wakeup import Wakeup

__all__ = [
    "DonorPool",
    "DonorVector",
    "EventHub",
    "Interrupts",
    "MsixVectors",
    "ReservedVectors",
    "VectorInterrupt",
    "Wakeup",
]

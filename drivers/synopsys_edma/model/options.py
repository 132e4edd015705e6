# SPDX-License-Identifier: Apache-2.0
"""What a test may ask of the model."""

from vfio_ims.models import Option

from ..hardware.registers import Map

__all__ = ["MAPS", "OPTIONS"]

MAPS = {"legacy": Map.LEGACY, "unroll": Map.UNROLL, "hdma-compatible": Map.HDMA_COMPATIBLE, "hdma": Map.HDMA}

OPTIONS = {
    "map": Option("unroll", "how the registers are laid out", tuple(MAPS)),
    "channels": Option(2, "how many write channels there are, and as many read channels"),
    "interrupts": Option("msix", "what the function can be interrupted by", ("msix", "msi", "both")),
    "vectors": Option(8, "how many MSI-X vectors, or MSI vectors: then a power of two"),
    "vsec": Option(True, "whether a capability says where the engine is"),
    "registers": Option(0, "where in BAR 0 the registers are seen a second time, as 0x1000 for old kernels"),
    "metadata": Option(False, "whether BAR 4 says where everything is, as an endpoint that runs Linux does"),
    "list_size": Option(0x800, "bytes of memory for each channel's list: other than 0x800 with metadata only"),
    "dvsec": Option("absent", "the SIOV DVSEC, which such devices do not have", ("ims", "no-ims", "absent", "second")),
    "map_memory": Option(True, "offer the memory behind BAR 2 for mapping"),
    "pace": Option(0, "microseconds that an element takes"),
    "abort_at": Option(0, "which element of each channel aborts, counted from 1; 0: none"),
    "emulated": Option(False, "whether a write to the interrupt status sends a message"),
    "links": Option("followed", "whether a link's own cycle bit is looked at", ("followed", "checked")),
}

# SPDX-License-Identifier: Apache-2.0
"""Synopsys DesignWare eDMA and HDMA: the DMA engine in PCIe endpoints, which Linux calls dw-edma."""

from vfio_ims.families import Family

family = Family(
    "synopsys_edma",
    ids=["16c3:edda", "10ee:b054", "10ee:b00f"],
    driver="driver:Edma",
    models={"synopsys-edma": "model:EdmaModel", "amd-hdma": "model:HdmaModel"},
    title="DesignWare eDMA and HDMA",
)

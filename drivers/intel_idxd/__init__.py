# SPDX-License-Identifier: Apache-2.0
"""Intel's Data Streaming Accelerator (DSA) and In-Memory Analytics Accelerator (IAA), which Linux calls idxd."""

from vfio_ims.families import Family

DSA_IDS = ("8086:0b25", "8086:11fb", "8086:1212")
"""Sapphire Rapids (Emerald and Granite Rapids too), Granite Rapids-D, Diamond Rapids. Linux, DPDK, SPDK."""

IAA_IDS = ("8086:0cfe", "8086:1216", "8086:b02d")
"""Sapphire Rapids, Diamond Rapids, Panther Lake. Linux, SPDK."""

family = Family(
    "intel_idxd",
    ids=[*DSA_IDS, *IAA_IDS],
    driver=dict.fromkeys(DSA_IDS, "driver:Dsa") | dict.fromkeys(IAA_IDS, "driver:Iaa"),
    models={"intel-dsa": "model:DsaModel", "intel-iaa": "model:IaaModel"},
    title="Intel DSA and IAA",
)

# SPDX-License-Identifier: Apache-2.0
"""Intel Dynamic Load Balancer (DLB) 2.5 and 2.0: queues of 16-byte elements, scheduled to ports by hardware."""

from vfio_ims.families import Family

family = Family(
    "intel_dlb",
    ids=["8086:2714", "8086:2710"],
    driver="driver:Dlb",
    models={"intel-dlb": "model:DlbModel", "intel-dlb2": "model:Dlb20Model"},
    title="Intel DLB 2.5 and 2.0",
)

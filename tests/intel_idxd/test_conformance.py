# SPDX-License-Identifier: Apache-2.0
"""The cases that others test DMA engines with, each by its name, and where it is tested here.

DPDK ``app/test/test_dmadev.c``; SPDK ``test/unit/lib/idxd``; accel-config ``test``; Intel DML ``tools/tests``;
OpenVMM's ``nvme_driver``.
"""

from __future__ import annotations

from tests.intel_idxd.named import names_in

ENGINE, OPERATIONS = "test_engine_cases", "test_every_operation"
SPDK, ACCEL_CONFIG, OPENVMM = "test_spdk_cases", "test_accel_config_cases", "test_openvmm_cases"

CASES: dict[str, dict[str, str]] = {
    "dpdk": {
        "single_copy": ENGINE,
        "enqueue_copies": ENGINE,
        "stop_start": ENGINE,
        "enqueue_sg_copies": ENGINE,
        "enqueue_sva_copies": "test_shared_addresses",
        "enqueue_fill": ENGINE,
        "burst_capacity": ENGINE,
        "completion_status": ENGINE,
        "completion_handling": ENGINE,
        "failure_in_full_burst": ENGINE,
        "individual_status_query_with_failure": ENGINE,
        "single_item_status_query_with_failure": ENGINE,
        "multi_failure": ENGINE,
        "enq_deq_ops": ENGINE,
    },
    "spdk": {
        "wait_cmd": SPDK,
        "reset_dev": SPDK,
        "group_config": SPDK,
        "wq_config": SPDK,
        "dif_parameters": SPDK,
        "dif_alignment": SPDK,
    },
    "accel-config": {
        "dsa_opcodes": OPERATIONS,
        "iaa_opcodes": OPERATIONS,
        "batch_sizes": ACCEL_CONFIG,
        "page_fault_block": ACCEL_CONFIG,
        "page_fault_no_block": ACCEL_CONFIG,
        "shared_and_dedicated": ACCEL_CONFIG,
    },
    "dml": {
        "algorithmic": OPERATIONS,
        "bad_arguments": "test_bad_arguments",
    },
    "openvmm": {
        "bad_id_in_a_completion": OPENVMM,
        "failed_asynchronous_event": OPENVMM,
        "dma_allocation_failure": OPENVMM,
        "limits_from_hostile_capabilities": OPENVMM,
    },
}


def test_every_case_has_a_test_of_its_name() -> None:
    missing = [
        f"{source}: {case}"
        for source, cases in CASES.items()
        for case, file in cases.items()
        if f"test_{case}" not in names_in(file)
    ]
    assert missing == []

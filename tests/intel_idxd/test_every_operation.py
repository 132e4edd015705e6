# SPDX-License-Identifier: Apache-2.0
"""Each operation is checked against its definition somewhere: where.

accel-config ``test`` tries every opcode, Intel DML ``tools/tests`` every algorithm.
"""

from __future__ import annotations

import vfio_ims
from tests.intel_idxd.named import names_in


def opcodes_tried() -> set[str]:
    return names_in("test_table")


def test_dsa_opcodes() -> None:
    """Each against an oracle: see ``ORACLES``; which versions have which: ``test_table``."""
    assert "test_which_device_knows_it" in opcodes_tried()
    assert {f"test_{name}" for name in ("compare", "compare_pattern", "dualcast", "cache_flush")} <= (
        names_in("test_comparing")
    )
    assert {"test_memmove_with_any_overlap", "test_fill", "test_a_batch_in_order"} <= names_in("test_moving")


def test_iaa_opcodes() -> None:
    assert {"test_crc64", "test_rle_burst", "test_sets", "test_scan_and_extract"} <= names_in("test_iaa") | names_in(
        "test_iaa_filters"
    )


ORACLES = {
    "nop": "test_statuses.test_dsa_and_work_after_it",
    "drain": "test_engines.test_a_drain_waits_for_its_queue_and_for_no_other",
    "batch": "test_moving.test_a_batch_in_order",
    "memmove": "test_moving.test_memmove_with_any_overlap",
    "fill": "test_moving.test_fill",
    "compare": "test_comparing.test_compare",
    "compare_pattern": "test_comparing.test_compare_pattern",
    "create_delta": "test_comparing.test_deltas_there_and_back",
    "apply_delta": "test_comparing.test_deltas_there_and_back",
    "dualcast": "test_comparing.test_dualcast",
    "translation_fetch": "test_versions.test_version_2_fetches_translations_and_generates_dix",
    "crc": "test_checking.test_crc",
    "copy_crc": "test_checking.test_crc",
    "dif_check": "test_checking.test_insert_check_strip",
    "dif_insert": "test_checking.test_insert_check_strip",
    "dif_strip": "test_checking.test_insert_check_strip",
    "dif_update": "test_checking.test_update",
    "dix_generate": "test_checking.test_dix",
    "cache_flush": "test_comparing.test_cache_flush",
    "compress": "test_iaa.test_what_it_compresses_zlib_inflates",
    "decompress": "test_iaa.test_what_zlib_compresses_it_inflates",
    "compress_stream": "iaa_streams/test_in_pieces.test_compressed_in_pieces_zlib_inflates_it",
    "decompress_stream": "iaa_streams/test_in_pieces.test_what_zlib_compressed_is_inflated_in_pieces",
    "statistics": "test_iaa.test_statistics_count_what_would_be_written",
    "crc64": "test_iaa.test_crc64",
    "zero_compress": "test_iaa.test_zeros_left_out_and_put_in",
    "zero_decompress": "test_iaa.test_zeros_left_out_and_put_in",
    "scan": "test_iaa_filters.test_scan_and_extract",
    "extract": "test_iaa_filters.test_scan_and_extract",
    "select": "test_iaa_filters.test_select_and_expand_are_each_others_inverse",
    "expand": "test_iaa_filters.test_select_and_expand_are_each_others_inverse",
    "set_membership": "test_iaa_filters.test_sets",
    "find_unique": "test_iaa_filters.test_sets",
    "rle_burst": "test_iaa_filters.test_rle_burst",
}
"""Where each operation is checked against its definition."""


def operations_of(name: str) -> set[str]:
    cls = getattr(vfio_ims.drivers.intel_idxd.driver.queue_session, name)
    known = {"close", "submit_many", "plan", "check_open", "start", "retire", "again", "copied"}
    return {one for one in dir(cls) if callable(getattr(cls, one)) and not one.startswith("_") and one not in known}


def test_algorithmic() -> None:
    """Every operation that a queue offers has an oracle."""
    assert operations_of("DsaQueue") | operations_of("IaaQueue") == set(ORACLES)
    for place in ORACLES.values():
        file, test = place.split(".")
        assert test in names_in(file), place

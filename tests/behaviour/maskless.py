# SPDX-License-Identifier: Apache-2.0
"""Which tests of the suite are about masks, on a table without any: they do not apply there.

They mask, move slots (which masks them meanwhile), or find a slot quiet by its mask and zeros, not parked on memory.
``tests/tables`` and ``tests/synopsys_edma`` have what such tables promise instead.
"""

__all__ = ["MASKLESS", "NEEDS_MASK"]

MASKLESS = ("amd-hdma",)
"""Models whose entries have no mask."""

NEEDS_MASK = frozenset(
    {
        "test_a_child_is_refused_whatever_another_thread_holds",
        "test_a_closed_device_is_quiet_for_the_next_user",
        "test_a_closed_polled_slot_is_quiet_and_free",
        "test_a_closed_slot_is_left_masked_and_zeroed",
        "test_a_failed_start_closes_the_device",
        "test_a_fire_before_its_slot_moves_is_not_lost",
        "test_a_former_owners_pending_interrupt_wakes_no_owner",
        "test_a_group_is_masked_and_unmasked_together",
        "test_a_group_is_the_whole_table_if_you_like",
        "test_a_masked_slot_does_not_wake_with_its_donor_when_the_source_tells",
        "test_a_masked_slot_holds_its_interrupt_until_unmasked",
        "test_a_slot_left_programmed_does_not_fire_when_the_next_user_masters_the_bus",
        "test_a_tight_loop_under_ctrl_c",
        "test_after_mask_returns_nothing_leaves",
        "test_allocating_and_closing",
        "test_an_exclusive_slot_is_found_while_every_donor_is_shared",
        "test_masks_survive_a_move",
        "test_masks_survive_and_pending_bits_do_not",
        "test_only_an_allocated_slot_is_written",
        "test_reserved_vectors_are_no_donors_until_they_are_released",
        "test_shared_slots_move_to_other_donors_for_msix",
        "test_the_domain_leaves_every_slot_quiet",
        "test_the_last_shared_donor_is_not_taken_from_its_slots",
        "test_the_least_loaded_donor_is_taken",
        "test_the_report_shows_a_slot_that_was_changed_behind_our_back",
        "test_threads_grow_donors_and_masks_at_once",
    }
)

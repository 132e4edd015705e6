# SPDX-License-Identifier: Apache-2.0
"""What a family declares about itself: ids, models, vectors that it keeps."""

from __future__ import annotations

from vfio_ims.driver import Driver
from vfio_ims.families import family_for
from vfio_ims.testing.contract import breach
from vfio_ims.testing.folders import folder_problems

_WRITTEN = "  written: docs/writing-a-driver.md, 1 to 4"


def test_the_family_is_declared_as_it_is(idle: Driver) -> None:
    device = idle.device
    family = family_for(device.config.read(0, 2), device.config.read(2, 2))
    for model in family.models:
        made = family.load_model(model)(model)
        made.close()
        assert made.id in family.ids, (
            f"family {family.name}: model {model} is {made.id}, which ids does not list\n{_WRITTEN}"
        )
    problems = folder_problems(family)
    assert not problems, f"{problems}\n{_WRITTEN}"


def test_reserved_vectors_leave_a_donor(idle: Driver) -> None:
    count, reserved = idle.device.interrupts.donors.count, idle.reserved_vectors
    promise = "MSI-X vectors that the device needs for itself"
    outside = [vector for vector in reserved if vector not in range(count)]
    assert not outside, breach(idle, "reserved_vectors", promise, f"the device has {count}, and {outside} are listed")
    assert len(set(reserved)) < count, breach(idle, "reserved_vectors", promise, "none is left to be a donor")

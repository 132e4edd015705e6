# SPDX-License-Identifier: Apache-2.0
"""A function behind a real kernel's vfio-pci, opened by one process and used by another, over vfio-user."""

from __future__ import annotations

import os

import pytest

from tests.vm.pieces import find
from tests.vm.served import Lab


@pytest.mark.parametrize("iommu", ["iommufd", "type1"])
def test_a_client_of_the_exporting_process_has_the_function(shared_lab: Lab, iommu: str) -> None:
    """The self-test through the socket; a client that is killed; the next one finds the function as new."""
    found = shared_lab.scenario("exported", f"{shared_lab['minimal']},iommu={iommu}", "4", timeout=400)
    report = found["report"]
    assert report["findings"] == []
    assert report["fired"] == report["delivered"] > 0
    assert found["mapped"], "the BAR's registers were reached over the socket"
    assert found["clean"], "a killed client's slots were found armed"
    assert found["after"], "the client after it got no interrupt"
    assert (found["status"], found["socket"]) == (0, False)


def test_a_lab_that_is_killed_leaves_nothing_bound(shared_lab: Lab) -> None:
    found = shared_lab.scenario("kept", shared_lab["heir"], timeout=200)
    assert (found["before"], found["lent"], found["after"]) == ("", "vfio-pci", ""), found
    assert found["override"] in ("", "(null)")


@pytest.mark.skipif(os.environ.get("VFIO_IMS_FULL") != "1", reason="an emulator within an emulator: VFIO_IMS_FULL=1")
def test_a_qemu_within_the_guest_takes_the_function(shared_lab: Lab) -> None:
    """Its firmware finds the function and places its BAR."""
    found = shared_lab.scenario("nested", shared_lab["minimal"], str(find().qemu), timeout=600)
    for moment in ("before", "after"):
        assert found[moment]["id"]["vendor"] == 0x1234
    assert found["before"]["regions"][0]["address"] in (-1, 0)
    assert found["after"]["regions"][0]["address"] > 0


def test_a_function_that_the_kernel_wants_back_is_given_up(shared_lab: Lab) -> None:
    found = shared_lab.scenario("exported_removed", shared_lab["minimal"], timeout=200)
    assert found["let_go"], "unbinding hung"
    assert found["status"] == 1
    assert "the kernel wants the function back" in found["said"]
    assert "closed the socket" in found["client"]

# SPDX-License-Identifier: Apache-2.0
"""The host's side on a real kernel: binding, permissions, removal, hand-over."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.vm.pieces import need_vm
from tests.vm.platforms import INTEL
from tests.vm.served import Lab, bench


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    need_vm()
    with bench(INTEL, minimal="minimal", dsa="intel-dsa") as booted:
        yield booted


@pytest.mark.parametrize("interface", ["type1", "iommufd"])
@pytest.mark.parametrize("model", ["minimal", "dsa"])
def test_an_open_device_is_handed_to_an_unprivileged_process(lab: Lab, interface: str, model: str) -> None:
    found = lab.scenario("handover", f"{lab[model]},iommu={interface}")
    assert found["uid"] == 65534
    assert found["woken"] == [True] * 4
    assert f"process {found['pid']}" in found["owner"]
    assert f"process {found['pid']}" in found["second"]
    assert (found["after"], found["status"], found["left"]) == ("closed", 0, 0)


@pytest.mark.parametrize("interface", ["type1", "iommufd"])
def test_memory_decoding_off_is_an_error_and_no_signal(lab: Lab, interface: str) -> None:
    found = lab.scenario("decode_off", f"{lab['minimal']},iommu={interface}")
    assert found["same"]
    assert all("DeviceError" in text for text in found["failures"]), found


@pytest.mark.parametrize("interface", ["type1", "iommufd"])
@pytest.mark.parametrize("model", ["minimal", "dsa"])
def test_a_function_removed_while_its_slots_fire_is_given_back(lab: Lab, interface: str, model: str) -> None:
    bound = lab.run(["vfio-ims", "bind", lab[model]])
    assert bound.status in (0, 4), bound
    found = lab.scenario("removal", f"{lab[model]},iommu={interface}")
    assert found["given"]
    assert found["seconds"] < 2.0
    assert found["fires"] > 0
    # Whoever waited is told by RemovedError, whoever came later by ClosedError: both say why.
    assert "the host takes the device back" in found["ends"][0]
    assert "the host takes the device back" in found["reason"]
    assert found["touched"] == []
    assert found["gone"]
    assert found["back"]
    print(f"given back {found['seconds'] * 1000:.0f} ms after the request")

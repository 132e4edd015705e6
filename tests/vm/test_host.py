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

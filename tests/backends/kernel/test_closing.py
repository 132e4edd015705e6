# SPDX-License-Identifier: Apache-2.0
"""Closing gives everything back: at once, after any failure, and of a device that was left open."""

from __future__ import annotations

from typing import Any

import pytest

from tests.backends.kernel.conftest import Open, descriptors
from tests.backends.kernel.fake_kernel import BDF, PAGE
from vfio_ims.errors import ClosedError, VfioImsError


def test_closing_gives_everything_back(kernel: Any, opened: Open, interface: str) -> None:
    function = kernel.add()
    port = opened()
    window = port.window(0)
    assert descriptors(kernel.dev)
    space = port.space
    port.close()
    port.close()
    assert descriptors(kernel.dev) == []
    assert not kernel.container_of.get(12)
    for used in (
        lambda: window.read32(0),
        port.device_info,
        lambda: port.read_region(0, 0, 4),
        lambda: port.set_irqs(2, 0x21, 0, 0),
        port.reset,
        lambda: space.map(0x10000, 0, PAGE),
        lambda: space.ranges(),
    ):
        with pytest.raises(ClosedError):
            used()
    if interface == "iommufd":
        assert kernel.maps == {}, "the IOAS is destroyed"
    del function


def test_every_request_may_fail_and_nothing_leaks(kernel: Any, opened: Open) -> None:
    kernel.add()
    opened().close()
    count = len(kernel.asked)
    for nth in range(count):
        kernel.asked.clear()
        kernel.fail_nth = nth
        kernel.functions[BDF].bound = False
        try:
            port = opened()
        except VfioImsError as error:
            assert BDF in str(error)  # noqa: PT017
        else:
            port.close()  # the failure came with the close
        kernel.fail_nth = None
        kernel.container_of.clear()
        assert descriptors(kernel.dev) == [], f"after failure {nth}"


def test_a_device_left_open_is_closed_with_one_warning(kernel: Any, opened: Open) -> None:
    kernel.add()
    port = opened()
    with pytest.warns(ResourceWarning, match=f"{BDF} was not closed") as caught:
        del port
    assert len(caught) == 1
    assert descriptors(kernel.dev) == []

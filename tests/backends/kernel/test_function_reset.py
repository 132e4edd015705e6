# SPDX-License-Identifier: Apache-2.0
"""A reset of one function: tried again while it is locked, and refused where there is none."""

from __future__ import annotations

import errno
from collections import deque
from typing import Any

import pytest

from tests.backends.kernel.conftest import Open
from vfio_ims.backends.kernel import device as kernel_device
from vfio_ims.errors import DeviceBusy, UnsupportedError


def test_a_reset_is_tried_again_while_the_function_is_locked(
    kernel: Any, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel.add()
    with opened() as port:
        kernel.fail["DEVICE_RESET"] = deque([errno.EAGAIN] * 3)
        port.reset()
        assert kernel.asked[-4:] == ["DEVICE_RESET"] * 4
        monkeypatch.setattr(kernel_device, "RESET_TIMEOUT", 0.05)
        kernel.fail["DEVICE_RESET"] = deque([errno.EAGAIN] * 1000)
        with pytest.raises(DeviceBusy, match="another reset"):
            port.reset()
        kernel.fail["DEVICE_RESET"] = deque([errno.ENOTTY])
        with pytest.raises(UnsupportedError):
            port.reset()


def test_a_function_without_a_reset_says_so(kernel: Any, opened: Open) -> None:
    kernel.add().resets = False
    with opened() as port, pytest.raises(UnsupportedError, match="no reset"):
        port.reset()
    assert "DEVICE_RESET" not in kernel.asked

# SPDX-License-Identifier: Apache-2.0
"""VF tokens: by either interface, on older kernels, and of a function in use."""

from __future__ import annotations

import errno
from collections import deque
from typing import Any

import pytest

from tests.backends.kernel.conftest import Open
from tests.backends.kernel.fake_kernel import BDF
from vfio_ims.backends.kernel.opening import open_kernel
from vfio_ims.errors import DeviceBusy, UnsupportedError, UsageError

TOKEN = "bd8d9d2b-5a5f-4f5a-a211-f591514ba1f3"


def test_a_vf_token_reaches_the_kernel_by_either_interface(kernel: Any, opened: Open) -> None:
    function = kernel.add()
    with opened(vf_token=TOKEN):
        assert function.token == bytes.fromhex(TOKEN.replace("-", ""))
    with pytest.raises(UsageError, match="vf_token must be a UUID, not 'hello'"):
        opened(vf_token="hello")


def test_an_older_kernel_takes_a_token_through_the_group_only(kernel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    function = kernel.add()
    kernel.tokens = False
    monkeypatch.setattr("platform.release", lambda: "6.12.9-amd64")
    with pytest.raises(UnsupportedError) as refused:
        open_kernel(BDF, iommu="iommufd", vf_token=TOKEN, sysfs=kernel.sys, dev=kernel.dev)
    assert "takes no VF token on Linux 6.12.9-amd64: that came with 6.17" in str(refused.value)
    assert refused.value.hint.startswith(f"{BDF},iommu=type1,vf_token=UUID")
    with open_kernel(BDF, vf_token=TOKEN, sysfs=kernel.sys, dev=kernel.dev) as port:
        assert port.mount == "group"  # auto
        assert function.token is not None


def test_a_bound_function_is_busy_with_a_token_too(kernel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel.add()
    monkeypatch.setattr("platform.release", lambda: "6.18.1")
    kernel.fail["DEVICE_BIND_IOMMUFD"] = deque([errno.EINVAL])
    with pytest.raises(DeviceBusy, match="is in use"):
        open_kernel(BDF, iommu="iommufd", vf_token=TOKEN, sysfs=kernel.sys, dev=kernel.dev)

# SPDX-License-Identifier: Apache-2.0
"""Functions opened on a kernel of our own, by both of its interfaces; and what is open of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.backends.kernel.fake_kernel import BDF, FakeKernel
from vfio_ims.backends.kernel.opening import open_kernel
from vfio_ims.native import hot_reset, ioctl, iommufd, vfio

Open = Callable[..., Any]


def descriptors(where: Path) -> list[str]:
    """What is open below a folder."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            continue
    return [path for path in found if path.startswith(str(where))]


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    made = FakeKernel(tmp_path)
    for module in (ioctl, vfio, iommufd, hot_reset):
        monkeypatch.setattr(module, "call", made.call)
    return made


@pytest.fixture(params=["type1", "iommufd"])
def interface(request: pytest.FixtureRequest) -> str:
    """A group and its container, or a function's own node."""
    return str(request.param)


@pytest.fixture
def opened(kernel: Any, interface: str) -> Open:
    """Opens a function, the first one unless another is named."""

    def open_one(bdf: str = BDF, **options: Any) -> Any:
        return open_kernel(bdf, iommu=interface, sysfs=kernel.sys, dev=kernel.dev, **options)

    return open_one

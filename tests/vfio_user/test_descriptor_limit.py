# SPDX-License-Identifier: Apache-2.0
"""Descriptors that arrive where no more may be opened: that one request fails and says why, the next one is served."""

from __future__ import annotations

import errno
import os

import pytest

from tests.faults.limits import at_most
from vfio_ims.backends.kernel.access import translate_errno
from vfio_ims.errors import DeviceError, SetupError
from vfio_ims.ports.values import IrqIndex, IrqSet
from vfio_ims.vfio_user.messages import IRQ_SET
from vfio_ims.vfio_user.wire import Command


def test_a_server_without_descriptors_answers_so(raw, fds):
    request = IRQ_SET.pack(20, IrqSet.DATA_EVENTFD | IrqSet.ACTION_TRIGGER, IrqIndex.MSIX, 0, 2)
    events = tuple(os.eventfd(0, os.EFD_NONBLOCK) for _ in range(2))
    for more in (0, 1):
        with at_most(more):
            assert raw.ask(Command.DEVICE_SET_IRQS, request, fds=events)[0] == errno.EMFILE
    assert raw.ask(Command.DEVICE_SET_IRQS, request, fds=events)[0] == 0
    for event in events:
        os.close(event)


def test_a_client_without_descriptors_says_so_and_goes_on(link):
    with at_most(0), pytest.raises(SetupError, match="Too many open files") as caught:
        link.region_info(0)
    assert "ulimit -n" in caught.value.hint
    assert link.region_info(0).areas
    assert link.mapping_fd(0) is not None


@pytest.mark.parametrize(("code", "remedy"), [(errno.EMFILE, "ulimit -n"), (errno.ENFILE, "fs.file-max")])
def test_the_kernels_nodes_say_so_too(code, remedy):
    with (
        pytest.raises(SetupError) as caught,
        translate_errno(lambda code: DeviceError("open x", device="d", errno=code)),
    ):
        raise OSError(code, "full")
    assert str(caught.value).startswith(f"d: open x: {os.strerror(code)}")
    assert remedy in caught.value.hint

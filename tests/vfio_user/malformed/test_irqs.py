# SPDX-License-Identifier: Apache-2.0
"""DEVICE_SET_IRQS: flags, ranges, data and descriptors that are refused (test_device_set_irqs of libvfio-user)."""

from __future__ import annotations

import os

import pytest

from tests.vfio_user.malformed.answers import INVALID, alive
from vfio_ims.ports.values import IrqIndex, IrqSet
from vfio_ims.vfio_user.messages import IRQ_SET
from vfio_ims.vfio_user.wire import Command

MASK, UNMASK, TRIGGER = IrqSet.ACTION_MASK, IrqSet.ACTION_UNMASK, IrqSet.ACTION_TRIGGER
NONE, BOOL, EVENTFD = IrqSet.DATA_NONE, IrqSet.DATA_BOOL, IrqSet.DATA_EVENTFD
MSIX, ERR, REQ = IrqIndex.MSIX, IrqIndex.ERR, IrqIndex.REQ


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(bytes(8), id="short_write"),
        pytest.param(IRQ_SET.pack(3, TRIGGER | NONE, REQ, 0, 0), id="bad_argsz"),
        pytest.param(IRQ_SET.pack(20, TRIGGER | NONE, 5, 0, 0), id="bad_index"),
        pytest.param(IRQ_SET.pack(20, MASK | UNMASK, MSIX, 0, 0), id="bad_flags_MASK_and_UNMASK"),
        pytest.param(IRQ_SET.pack(20, MASK | NONE | BOOL, MSIX, 0, 0), id="bad_flags_DATA_NONE_and_DATA_BOOL"),
        pytest.param(IRQ_SET.pack(20, MASK | UNMASK | NONE, MSIX, 0, 1), id="two_actions"),
        pytest.param(IRQ_SET.pack(20, TRIGGER | NONE | 0x40, MSIX, 0, 1), id="unknown_flag"),
        pytest.param(IRQ_SET.pack(20, MASK | NONE, MSIX, 2047, 2), id="bad_start_count_range"),
        pytest.param(IRQ_SET.pack(20, MASK | NONE, MSIX, 2049, 1), id="bad_start_count_range2"),
        pytest.param(IRQ_SET.pack(20, TRIGGER | EVENTFD, MSIX, 284, 0xFFFFFFFF), id="bad_start_count_range3"),
        pytest.param(IRQ_SET.pack(20, MASK | NONE, ERR, 0, 1), id="bad_action_for_err_irq"),
        pytest.param(IRQ_SET.pack(20, MASK | NONE, REQ, 0, 1), id="bad_action_for_req_irq"),
        pytest.param(IRQ_SET.pack(20, TRIGGER | NONE, ERR, 0, 2), id="bad_start_count_range_for_err_irq"),
        pytest.param(IRQ_SET.pack(20, TRIGGER | NONE, REQ, 0, 2), id="bad_start_count_range_for_req_irq"),
        pytest.param(IRQ_SET.pack(20, MASK | NONE, MSIX, 1, 0), id="bad_start_for_count_0"),
        pytest.param(IRQ_SET.pack(20, MASK | NONE, MSIX, 0, 0), id="bad_action_for_count_0"),
        pytest.param(IRQ_SET.pack(20, TRIGGER | BOOL, MSIX, 0, 0), id="bad_action_and_data_type_for_count_0"),
        pytest.param(IRQ_SET.pack(20, TRIGGER | EVENTFD, MSIX, 0, 0), id="eventfd_for_count_0"),
        pytest.param(IRQ_SET.pack(21, TRIGGER | BOOL, MSIX, 0, 2) + b"\0", id="trigger_bool_too_small"),
        pytest.param(IRQ_SET.pack(23, TRIGGER | BOOL, MSIX, 0, 2) + b"\0\0\0", id="trigger_bool_too_large"),
        pytest.param(IRQ_SET.pack(20, TRIGGER | NONE, IrqIndex.MSI, 0, 1), id="a_kind_without_vectors"),
        pytest.param(IRQ_SET.pack(20, MASK | EVENTFD, IrqIndex.INTX, 0, 1), id="an_eventfd_that_masks"),
    ],
)
def test_device_set_irqs_refuses(raw, payload):
    assert raw.ask(Command.DEVICE_SET_IRQS, payload)[0] == INVALID
    alive(raw)


@pytest.mark.parametrize(
    ("payload", "count"),
    [
        pytest.param(IRQ_SET.pack(20, TRIGGER | BOOL, MSIX, 0, 1) + b"\0", 1, id="bad_fds_for_DATA_BOOL"),
        pytest.param(IRQ_SET.pack(20, TRIGGER | NONE, MSIX, 0, 1), 1, id="bad_fds_for_DATA_NONE"),
        pytest.param(IRQ_SET.pack(20, TRIGGER | EVENTFD, MSIX, 0, 2), 1, id="bad_fds_for_count_2"),
        pytest.param(IRQ_SET.pack(20, TRIGGER | EVENTFD, MSIX, 0, 1), 2, id="more_than_asked_for"),
    ],
)
def test_device_set_irqs_bad_fds(raw, fds, payload, count):
    event = os.eventfd(0)
    assert raw.ask(Command.DEVICE_SET_IRQS, payload, fds=(event,) * count)[0] == INVALID
    os.close(event)
    assert not fds.left()


def test_device_set_irqs_wants_eventfds(raw, fds):
    reader, writer = os.pipe()
    assert (
        raw.ask(Command.DEVICE_SET_IRQS, IRQ_SET.pack(20, TRIGGER | EVENTFD, MSIX, 0, 1), fds=(writer,))[0] == INVALID
    )
    os.close(reader)
    os.close(writer)
    assert not fds.left()

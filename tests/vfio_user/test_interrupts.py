# SPDX-License-Identifier: Apache-2.0
"""Our client and our server against each other: vectors, their eventfds, triggers and masks."""

from __future__ import annotations

import os
import time

import pytest

from vfio_ims.errors import DeviceError
from vfio_ims.ports.values import IrqFlags, IrqIndex, IrqSet
from vfio_ims.vfio_user.messages import IRQ_SET
from vfio_ims.vfio_user.wire import Command

MSIX, INTX = IrqIndex.MSIX, IrqIndex.INTX


def test_vectors_reach_the_bus_while_armed(link, device, do, bus):
    link.set_vectors(MSIX, 3, [True, False, True])
    for vector in (3, 4, 5):
        do(device.RAISE, MSIX, vector)
    assert {bus.next(), bus.next()} == {("interrupt", MSIX, 3), ("interrupt", MSIX, 5)}
    link.set_vectors(MSIX, 3, [False, True])
    for vector in (3, 4):
        do(device.RAISE, MSIX, vector)
    assert bus.next() == ("interrupt", MSIX, 4)
    link.set_vectors(MSIX, 4, [False, False])
    do(device.RAISE, MSIX, 4)
    do(device.RAISE, IrqIndex.ERR, 0)
    time.sleep(link.settle)
    assert bus.came.empty()


def test_data_comes_before_the_interrupt_that_reports_it(link, device, bus):
    bus.memory[0x10000] = bytearray(0x1000)
    link.map(0x10000, 0x1000, -1, 0, read=True, write=True)
    link.set_vectors(MSIX, 0, [True])

    for _ in range(200):
        device.bus.write(0x10000, b"completion record")
        device.bus.interrupt(MSIX, 0)
        assert [bus.next(), bus.next()] == [("write", 0x10000, 17), ("interrupt", MSIX, 0)]


def test_two_thousand_vectors(link, device, do, bus, fds):
    link.set_vectors(MSIX, 0, [True] * 2048)
    for vector in (0, 15, 16, 1000, 2047):
        do(device.RAISE, MSIX, vector)
        assert bus.next() == ("interrupt", MSIX, vector)
    link.set_vectors(MSIX, 0, [False] * 2048)
    assert not fds.left()


def test_every_kind_of_interrupt(link, device, do, bus):
    for index in (INTX, IrqIndex.ERR, IrqIndex.REQ, MSIX):
        link.set_vectors(index, 0, [True])
        do(device.RAISE, index, 0)
        assert bus.next() == ("interrupt", index, 0)


def test_vectors_that_there_are_not(link, fds):
    for index, start in ((MSIX, 2048), (IrqIndex.MSI, 0), (9, 0)):
        with pytest.raises(DeviceError):
            link.set_vectors(index, start, [True])
    assert not fds.left()  # the server's thread may close what it received after its answer


def set_irqs(raw, flags, index, start, count, data=b"", fds=()):
    assert (
        raw.ask(Command.DEVICE_SET_IRQS, IRQ_SET.pack(20 + len(data), flags, index, start, count) + data, fds=fds)[0]
        == 0
    )


def test_a_client_triggers_by_none_and_by_bool(raw):
    events = tuple(os.eventfd(start, os.EFD_NONBLOCK) for start in (4, 8))
    set_irqs(raw, IrqSet.DATA_EVENTFD | IrqSet.ACTION_TRIGGER, MSIX, 0, 2, fds=events)
    set_irqs(raw, IrqSet.DATA_NONE | IrqSet.ACTION_TRIGGER, MSIX, 1, 1)
    set_irqs(raw, IrqSet.DATA_BOOL | IrqSet.ACTION_TRIGGER, MSIX, 0, 2, b"\0\1")
    assert [os.eventfd_read(event) for event in events] == [4, 10]
    set_irqs(raw, IrqSet.DATA_NONE | IrqSet.ACTION_TRIGGER, MSIX, 0, 0)
    set_irqs(raw, IrqSet.DATA_NONE | IrqSet.ACTION_TRIGGER, MSIX, 0, 2)
    for event in events:
        with pytest.raises(BlockingIOError):
            os.eventfd_read(event)
        os.close(event)


def test_an_interrupt_behind_a_mask_comes_once_with_the_unmask(raw, device):
    event = os.eventfd(0, os.EFD_NONBLOCK)
    set_irqs(raw, IrqSet.DATA_EVENTFD | IrqSet.ACTION_TRIGGER, MSIX, 0, 1, fds=(event,))
    set_irqs(raw, IrqSet.DATA_NONE | IrqSet.ACTION_MASK, MSIX, 0, 1)
    for _ in range(3):
        device.bus.interrupt(MSIX, 0)
    with pytest.raises(BlockingIOError):
        os.eventfd_read(event)
    set_irqs(raw, IrqSet.DATA_BOOL | IrqSet.ACTION_UNMASK, MSIX, 0, 1, b"\1")
    assert os.eventfd_read(event) == 1
    os.close(event)


def test_an_automasked_interrupt_waits_for_its_unmask(device, path, kit, server):
    device.irq_flags[INTX] = IrqFlags.EVENTFD | IrqFlags.MASKABLE | IrqFlags.AUTOMASKED
    import socket

    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        raw = kit.raw(sock).hello()
        event = os.eventfd(0, os.EFD_NONBLOCK)
        set_irqs(raw, IrqSet.DATA_EVENTFD | IrqSet.ACTION_TRIGGER, INTX, 0, 1, fds=(event,))
        device.bus.interrupt(INTX, 0)
        device.bus.interrupt(INTX, 0)
        assert os.eventfd_read(event) == 1
        set_irqs(raw, IrqSet.DATA_NONE | IrqSet.ACTION_UNMASK, INTX, 0, 1)
        assert os.eventfd_read(event) == 1
        os.close(event)

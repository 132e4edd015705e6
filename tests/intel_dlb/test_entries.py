# SPDX-License-Identifier: Apache-2.0
"""What entries of consumer queues tell: all of load-balanced elements, the flow alone of directed ones."""

from __future__ import annotations

from vfio_ims.drivers.intel_dlb.driver import Dlb, Kind


def test_a_directed_entry_has_its_flow_in_place_of_queue_and_kind(dlb: Dlb) -> None:
    with dlb.domain() as domain:
        other, port = (domain.directed_port(interrupt="poll") for _ in range(2))
        other.enqueue_many(port.queue, range(3), flows=[0x1234, 5, 6], priority=2)
        found = port.dequeue_many()
    assert found.raw[10:14] == b"\x34\x12\0\0"
    assert list(found.flows) == [0x1234, 5, 6]
    assert list(found.queues) == 3 * [port.number]
    first = found[0]
    assert (first.kind, first.queue, first.flow, first.priority) == (Kind.DIRECTED, port.number, 0x1234, 0)


def test_a_load_balanced_entry_has_both(dlb: Dlb) -> None:
    with dlb.domain() as domain:
        queue = domain.queue(Kind.ATOMIC)
        port = domain.port([queue], interrupt="poll")
        port.enqueue_many(queue, range(3), flows=[0x1234, 5, 6], priority=2)
        found = port.dequeue_many()
    assert list(found.flows) == [0x1234, 5, 6]
    assert list(found.queues) == 3 * [queue.number]
    first = found[0]
    assert (first.kind, first.queue, first.flow, first.priority) == (Kind.ATOMIC, queue.number, 0x1234, 2)


def test_what_was_dequeued_is_a_sequence_with_slices(dlb: Dlb) -> None:
    with dlb.domain() as domain:
        port = domain.directed_port(interrupt="poll")
        port.enqueue_many(port.queue, range(5))
        found = port.dequeue_many()
    assert [one.data for one in found[1:4]] == [1, 2, 3]
    assert [one.data for one in found[::-2]] == [4, 2, 0]
    assert found[-1].data == 4

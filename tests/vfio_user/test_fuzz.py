# SPDX-License-Identifier: Apache-2.0
"""Whatever a client sends: the server answers or hangs up, keeps nothing of it, and serves the next client."""

from __future__ import annotations

import os
import socket
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vfio_ims.vfio_user import Server, SocketLink
from vfio_ims.vfio_user.messages import DMA_MAP, DMA_UNMAP, IRQ_SET, REGION_ACCESS, REGION_INFO
from vfio_ims.vfio_user.wire import HEADER

HELLO = HEADER.pack(1, 1, 20, 0, 0) + struct.pack("HH", 0, 1)

word = st.sampled_from([0, 1, 2, 3, 4, 7, 8, 16, 20, 24, 32, 64, 4096, 0xFFFFFFFF]) | st.integers(0, 0xFFFFFFFF)
wide = word | st.sampled_from([0x1000, 0x10000, 0xFEE00000, (1 << 63), (1 << 64) - 1, (1 << 64) - 4096])
tail = st.binary(max_size=24)


def shaped(layout):
    """Payloads with the right shape and any numbers."""
    fields = [word if kind == "I" else wide for kind in layout.form]
    return st.builds(lambda numbers, rest: layout.pack(*numbers) + rest, st.tuples(*fields), tail)


messages = st.tuples(
    st.integers(0, 19),
    st.one_of(
        st.binary(max_size=80),
        *(shaped(layout) for layout in (DMA_MAP, DMA_UNMAP, IRQ_SET, REGION_ACCESS, REGION_INFO)),
    ),
    st.sampled_from([0, 0, 0, 0x10, 1, 0x21, 5]),
    st.integers(0, 3),
)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    from tests.vfio_user.conftest import Device

    device = Device()
    with Server(device, tmp_path_factory.mktemp("fuzz") / "s") as server:
        yield server
    device.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sent=st.lists(messages, min_size=1, max_size=25), stray=st.binary(max_size=40))
def test_anything_may_be_sent(sent, stray, served, fds):
    file = os.memfd_create("file")
    os.ftruncate(file, 1 << 16)
    events = [file, os.eventfd(0), os.eventfd(0)]
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(served.path)
        sock.settimeout(5)
        sock.sendall(HELLO)
        try:
            for number, (command, payload, flags, given_fds) in enumerate(sent):
                data = HEADER.pack(number, command, 16 + len(payload), flags, 0) + payload
                socket.send_fds(sock, [data], events[:given_fds])
            sock.sendall(stray)
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(1 << 20):
                pass
        except ConnectionError:
            pass
    for fd in events:
        os.close(fd)
    with SocketLink(served.path) as link:
        assert link.device_info().regions == 9
        assert link.read(0, 0, 4) == bytes(4)
    assert fds.settle() == 0

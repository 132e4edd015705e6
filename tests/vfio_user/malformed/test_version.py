# SPDX-License-Identifier: Apache-2.0
"""VERSION: what is not agreed to, and what is (test_negotiate of libvfio-user)."""

from __future__ import annotations

import os
import struct

import pytest

from tests.vfio_user.malformed.answers import INVALID, alive
from vfio_ims.vfio_user.wire import MAX_MESSAGE


def version(major=0, minor=1, text=b""):
    return struct.pack("HH", major, minor) + text


def closed(raw):
    with pytest.raises(ConnectionError):
        raw.receive()


@pytest.mark.parametrize(
    ("command", "payload"),
    [
        pytest.param(1, b"", id="short_write"),
        pytest.param(999, version(), id="bad_command"),
        pytest.param(9, version(), id="bad_command_known"),
        pytest.param(1, version(major=999), id="invalid_major"),
        pytest.param(1, version(text=b"{}"), id="invalid_json_missing_NUL"),
        pytest.param(1, version(text=b"{\0"), id="invalid_json_missing_closing_brace"),
        pytest.param(1, version(text=b'"\0'), id="invalid_json_missing_closing_quote"),
        pytest.param(1, version(text=b'{"capabilities":"23"}\0'), id="invalid_json_bad_capabilities_object"),
        pytest.param(1, version(text=b'{"capabilities":{"max_msg_fds":"foo"}}\0'), id="invalid_json_bad_max_fds"),
        pytest.param(1, version(text=b'{"capabilities":{"max_msg_fds":-1}}\0'), id="invalid_json_bad_max_fds2"),
        pytest.param(1, version(text=b'{"capabilities":{"max_msg_fds":1025}}\0'), id="invalid_json_bad_max_fds3"),
        pytest.param(1, version(text=b'{"capabilities":{"migration":"23"}}\0'), id="invalid_json_bad_migration_object"),
        pytest.param(
            1, version(text=b'{"capabilities":{"migration":{"pgsize":"foo"}}}\0'), id="invalid_json_bad_pgsize"
        ),
        pytest.param(
            1, version(text=b'{"capabilities":{"migration":{"pgsize":4095}}}\0'), id="invalid_json_bad_pgsize2"
        ),
    ],
)
def test_negotiate_refuses(dial, command, payload):
    client = dial()
    assert client.ask(command, payload) == (INVALID, b"")
    closed(client)
    dial().hello()


def test_negotiate_long_write(dial):
    client = dial()
    assert client.ask(1, size=MAX_MESSAGE + 1)[0] == INVALID
    closed(client)


def test_negotiate_with_descriptors(dial, fds):
    client = dial()
    event = os.eventfd(0)
    assert client.ask(1, version(), fds=(event,))[0] == INVALID
    closed(client)
    os.close(event)
    client.sock.close()
    assert not fds.left()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"", id="no_json"),
        pytest.param(b"{}\0", id="empty_json"),
        pytest.param(b'{"capabilities":{"max_msg_fds":1024,"max_data_xfer_size":1048576}}\0', id="json"),
        pytest.param(b'{"capabilities":{"twin_socket":{"supported":true}}}\0', id="twin_socket_is_not_taken_up"),
    ],
)
def test_valid_negotiate(dial, text):
    client = dial()
    error, body = client.ask(1, version(text=text))
    assert error == 0
    assert body[:4] == version()
    assert body.endswith(b"\0")
    assert b'"max_msg_fds":16,"max_data_xfer_size":1048576,"max_dma_maps":65535' in body
    assert b"write_multiple" not in body, "not proposed, so not in the answer"
    alive(client)


def test_the_older_minor_version_is_agreed_on(dial):
    assert dial().ask(1, version(minor=0))[1][:4] == version(minor=0)


def test_a_later_minor_version_is_brought_down_to_ours(dial):
    assert dial().ask(1, version(minor=7))[1][:4] == version(minor=1)


def test_a_client_that_says_nothing_does_not_block_the_next(kit, device, path):
    from vfio_ims.vfio_user import Server, SocketLink

    with Server(device, path, timeout=0.1):
        import socket

        with socket.socket(socket.AF_UNIX) as silent:
            silent.connect(path)
            with SocketLink(path) as link:
                assert link.device_info().regions == 9

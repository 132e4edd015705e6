# SPDX-License-Identifier: Apache-2.0
"""Coming and going: sockets, clients one after another, signals, forks, and nothing left behind."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.behaviour.common import in_child
from vfio_ims.errors import AccessDenied, ClosedError, DeviceBusy, RemovedError, SetupError, UsageError
from vfio_ims.ports.values import IrqIndex
from vfio_ims.vfio_user import Server, SocketLink


def test_the_socket_is_this_users_alone_and_goes(device, path):
    server = Server(device, path)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    server.close()
    server.close()
    assert not os.path.exists(path)
    with pytest.raises(ClosedError, match="closed by"):
        server.start()


def test_a_socket_in_use_is_left_alone(server, device, path, kit):
    other = kit.device()
    with pytest.raises(DeviceBusy, match="another server listens there"):
        Server(other, path)
    other.close()
    with SocketLink(path) as link:
        assert link.device_info()


def test_a_stale_socket_is_replaced_and_a_file_is_not(device, path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    Server(device, path).close()
    Path(path).write_text("mine")
    with pytest.raises(DeviceBusy):
        Server(device, path)
    assert Path(path).read_text() == "mine"


def test_a_link_in_the_place_of_the_socket_is_described(server, device, path, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nothing")
    with pytest.raises(DeviceBusy, match="a link that leads nowhere is there"):
        Server(device, link)
    assert link.is_symlink()
    link.unlink()
    link.symlink_to(path)
    with pytest.raises(DeviceBusy, match="another server listens there"):
        Server(device, link)


def test_another_servers_socket_is_not_removed(device, path, kit):
    server = Server(device, path)
    os.unlink(path)
    other_device = kit.device()
    with Server(other_device, path):
        server.close()
        assert os.path.exists(path)
    other_device.close()


@pytest.mark.parametrize(
    ("where", "error"), [("missing/s", SetupError), ("x" * 200, UsageError)], ids=["no folder", "too long"]
)
def test_places_where_no_socket_can_be(device, tmp_path, where, error):
    with pytest.raises(error, match="next:"):
        Server(device, tmp_path / where)


def test_a_model_that_cannot_be_attached_leaves_no_socket(device, path, fds):
    def attach(bus):
        raise RuntimeError("no")

    device.attach = attach
    with pytest.raises(RuntimeError):
        Server(device, path)
    assert not os.path.exists(path)
    assert not fds.left()


def test_a_link_needs_a_server(tmp_path, path, fds):
    with pytest.raises(SetupError, match="there is no such socket"):
        SocketLink(path)
    Path(path).write_text("")
    with pytest.raises(SetupError, match="no server listens there"):
        SocketLink(path)
    with pytest.raises(UsageError, match="108 bytes"):
        SocketLink("x" * 300)
    assert not fds.left()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may everything")
def test_a_link_needs_permission(server, path):
    os.chmod(path, 0)
    with pytest.raises(AccessDenied):
        SocketLink(path)


def test_clients_come_one_after_another(server, device):
    for n in range(20):
        with SocketLink(server.path) as link:
            link.write(0, 0x100, bytes([n]) * 4)
            assert link.read(0, 0x100, 4) == bytes([n]) * 4


def test_a_second_client_waits_its_turn(server, link):
    started = threading.Event()
    seen = []

    def second() -> None:
        started.set()
        with SocketLink(server.path) as other:
            seen.append(other.read(0, 0x100, 4))

    link.write(0, 0x100, b"mine")
    thread = threading.Thread(target=second)
    thread.start()
    started.wait()
    time.sleep(0.05)
    assert not seen
    link.close()
    thread.join()
    assert seen == [bytes(4)]


def test_a_second_client_learns_that_there_is_one_at_a_time(server, link):
    with pytest.raises(DeviceBusy, match=r"no answer to VERSION within 0\.1 s") as caught:
        SocketLink(server.path, timeout=0.1)
    assert f"process {os.getpid()} serves another client" in str(caught.value)
    assert "one client at a time" in str(caught.value)
    assert link.device_info()


def test_a_client_that_says_nothing_is_sent_away(device, path, dial):
    server = Server(device, f"{path}.2", timeout=0.2).start()
    with socket.socket(socket.AF_UNIX) as silent:
        silent.connect(server.path)
        with SocketLink(server.path, timeout=10) as link:
            assert link.device_info()
    server.close()


def test_everything_that_a_client_gave_is_let_go(server, device, bus, fds):
    for _ in range(3):
        memory = os.memfd_create("dma")
        os.ftruncate(memory, 1 << 20)
        with SocketLink(server.path) as link:
            link.connect(bus)
            link.region_info(0)
            link.map(0, 1 << 19, memory, 0, read=True, write=True)
            link.set_vectors(IrqIndex.MSIX, 0, [True] * 40)
            link.write(0, device.ADDRESS, (IrqIndex.MSIX).to_bytes(8, "little") + (39).to_bytes(8, "little"))
            link.write(0, device.DO, device.RAISE.to_bytes(8, "little"))
            assert bus.next() == ("interrupt", IrqIndex.MSIX, 39)
        os.close(memory)
        assert not fds.left()


def test_a_client_that_dies_in_the_middle_of_a_message(server, dial, fds):
    for cut in (1, 15, 17, 30):
        client = dial()
        client.hello()
        event = os.eventfd(0)
        socket.send_fds(client.sock, [(b"\1\0\x08\0\x40\0\0\0" + bytes(40))[:cut]], [event])
        os.close(event)
        client.sock.close()
    with SocketLink(server.path) as link:
        assert link.device_info()
    assert not fds.left()


def test_a_client_that_does_not_read_does_not_fill_the_memory(server, device, dial):
    client = dial()
    client.hello()
    request = b"".join(
        (n & 0xFFFF).to_bytes(2, "little")
        + b"\x09\0\x20\0\0\0"
        + bytes(8)
        + bytes(8)
        + b"\2\0\0\0"
        + (1 << 20).to_bytes(4, "little")
        for n in range(200)
    )
    client.sock.sendall(request)
    time.sleep(0.2)
    assert len([access for access in device.accesses if access[1] == 2]) < 10
    for _ in range(200):
        assert len(client.receive()[4]) == 16 + (1 << 20)


def test_stopping_with_a_client_frees_it(device, path, bus):
    server = Server(device, path).start()
    with SocketLink(path) as link:
        start = time.monotonic()
        server.close()
        assert time.monotonic() - start < 10
        with pytest.raises(RemovedError):
            link.read(0, 0, 4)
    assert not [thread for thread in threading.enumerate() if "vfio-user" in thread.name]


def test_starting_twice_is_a_mistake(server):
    for serve in (server.start, server.serve_forever):
        with pytest.raises(UsageError, match="serving already"):
            serve()


def test_a_worker_that_waits_for_a_client_that_goes(server, device, dial):
    from vfio_ims.vfio_user.messages import DMA_MAP, REGION_ACCESS

    client = dial()
    client.hello()
    assert client.ask(2, DMA_MAP.pack(32, 3, 0, 0x10000, 0x1000))[0] == 0
    numbers = (0x10000).to_bytes(8, "little") + bytes(8) + (16).to_bytes(8, "little")
    client.ask(10, REGION_ACCESS.pack(device.ADDRESS, 0, 24) + numbers)
    client.ask(10, REGION_ACCESS.pack(device.DO, 0, 8) + device.WORKER_READ.to_bytes(8, "little"))
    assert client.receive()[1] == 11
    client.sock.close()
    assert "the client is gone" in device.done.get(timeout=1).why


SERVE = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("conftest", sys.argv[2])
conftest = importlib.util.module_from_spec(spec)
sys.modules["conftest"] = conftest
spec.loader.exec_module(conftest)
device = conftest.Device()
try:
    conftest.Server(device, sys.argv[1]).serve_forever()
except KeyboardInterrupt:
    print("interrupted")
print("over")
"""


@pytest.fixture
def process(path):
    here = Path(__file__).parent
    command = [sys.executable, "-W", "error", "-c", SERVE, path, str(here / "conftest.py")]
    made = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=here.parents[1])
    end = time.monotonic() + 10
    while not os.path.exists(path) and made.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    yield made
    if made.poll() is None:
        made.kill()
    made.communicate()


@pytest.mark.parametrize(
    ("number", "said", "busy"), [(signal.SIGTERM, "over\n", True), (signal.SIGINT, "interrupted\nover\n", False)]
)
def test_a_signal_ends_a_server_cleanly(process, path, number, said, busy):
    if busy:
        with SocketLink(path) as link:
            assert link.device_info()
            process.send_signal(number)
            out, err = process.communicate(timeout=5)
            with pytest.raises(RemovedError):
                link.device_info()
    else:
        process.send_signal(number)
        out, err = process.communicate(timeout=5)
    assert (out, err, process.returncode) == (said, "", 0)
    assert not os.path.exists(path)


def test_a_server_that_is_killed_is_noticed(process, path, bus):
    with SocketLink(path) as link:
        link.connect(bus)
        process.kill()
        start = time.monotonic()
        with pytest.raises(RemovedError, match="closed the socket"):
            while time.monotonic() < start + 2:
                link.read(0, 0, 4)


def test_a_forked_child_tears_nothing_down(server, link):
    def child() -> str:
        try:
            link.read(0, 0, 4)
        except ClosedError as error:
            link.close()
            server.close()
            return error.why
        return "read"

    assert "fork" in in_child(child)
    assert os.path.exists(server.path)
    assert link.read(0, 0, 4) == bytes(4)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_link_that_is_forgotten_goes_all_the_same(server, fds):
    SocketLink(server.path)
    assert not fds.left()

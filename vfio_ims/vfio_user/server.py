# SPDX-License-Identifier: Apache-2.0
"""Serve a device model on a UNIX socket: to our own client, to QEMU, to anyone who speaks vfio-user."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import signal
import socket
import stat
import struct
import threading
import time
from collections import deque
from types import FrameType
from typing import TYPE_CHECKING, Self

from vfio_ims.errors import AccessDenied, BusFault, DeviceBusy, RemovedError, SetupError, UsageError
from vfio_ims.lifetime import Owner, close_at_exit
from vfio_ims.ports.values import RegionIndex
from vfio_ims.vfio_user.client_bus import ServerBus
from vfio_ims.vfio_user.exported import ExportedFunction
from vfio_ims.vfio_user.forked import dropped_in_child
from vfio_ims.vfio_user.session import Session
from vfio_ims.vfio_user.transport import MAX_FDS, Connection, Message, close_all
from vfio_ims.vfio_user.version import MAJOR, MINOR, Capabilities, decode_version, encode_version
from vfio_ims.vfio_user.wire import COMMAND, ERROR, HEADER, REPLY, TYPE_MASK, Command, WireError, malformed

if TYPE_CHECKING:
    from vfio_ims.ports.model import ModelPort

__all__ = ["Server"]

log = logging.getLogger(__name__)
_FAULTS_KEPT = 256


class Server(Owner):
    """Serves ``model`` on the socket ``path``: one client at a time, the next one after it, the device reset between.

    A client has the device until it disconnects, however long it is idle, as a process that opens a device does;
    others wait in the socket's queue meanwhile. Our own client gives up after its timeout and says who is in the way.

    The socket is there when the constructor returns, for this user only (mode 0600), and goes with ``close``.
    ``serve_forever`` serves in the calling thread, ``start`` in one of its own; ``with`` starts and closes. The model
    stays its owner's. ``faults`` holds the last requests of the model's that the client refused.
    ``timeout``: seconds that a client may take to say its version and to answer a DMA read.
    """

    def __init__(self, model: ModelPort, path: str | os.PathLike[str], *, timeout: float = 5.0) -> None:
        self.path = os.fspath(path)
        self.faults: deque[BusFault] = deque(maxlen=_FAULTS_KEPT)
        self._model, self._timeout = model, timeout
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._connection: Connection | None = None
        self._listener, self._inode = _listen(self.path)
        super().__init__(f"vfio-user server {self.path}")
        close_at_exit(self)
        dropped_in_child(self)
        self._bus = ServerBus()
        try:
            with model.lock:
                model.attach(self._bus)
                self._config = self._read_config()
        except BaseException:
            self.close()
            raise

    def drop(self) -> None:
        """Close the listener in a forked child, which does not serve."""
        self._listener.close()

    def start(self) -> Self:
        """Serve in a thread of its own."""
        self._check_idle("start")
        self._thread = threading.Thread(target=self._serve, name=self.label, daemon=True)
        self._thread.start()
        return self

    def serve_forever(self) -> None:
        """Serve here until ``stop``, SIGTERM or KeyboardInterrupt; then close."""
        self._check_idle("serve")
        main = threading.current_thread() is threading.main_thread()
        before = signal.getsignal(signal.SIGTERM) if main else None
        if before is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self._on_signal)
        try:
            self._serve()
        finally:
            if before is signal.SIG_DFL:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self.close()

    def _check_idle(self, operation: str) -> None:
        self.check_open(operation)
        if self._thread is not None:
            why = "it is serving already, in a thread of its own"
            raise UsageError(
                operation, device=self.label, why=why, hint="serve_forever goes without `with` and `start`"
            )

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """End serving, from any thread or a signal handler; returns at once. ``close`` also waits and tidies up."""
        self._stopping = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        connection = self._connection
        if connection is not None:
            connection.shutdown()

    def __enter__(self) -> Self:
        return self.start()

    def _release(self) -> None:
        self.stop()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        self._listener.close()
        with contextlib.suppress(OSError):
            if os.lstat(self.path).st_ino == self._inode:
                os.unlink(self.path)

    # --- clients ------------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        while not self._stopping:
            try:
                sock, _ = self._listener.accept()
            except OSError as error:
                if not self._stopping:
                    log.warning("%s: cannot take a client: %s", self.label, error)
                    time.sleep(0.1)  # out of descriptors, most likely: another moment may do
                continue
            self._connection = Connection(sock, self.label)
            try:
                if self._stopping:
                    return
                self._converse(sock, self._connection)
            except RemovedError as gone:
                log.info("%s: client gone: %s", self.label, gone.why)
            except Exception:
                log.exception("%s: a client was dropped", self.label)
            finally:
                connection, self._connection = self._connection, None
                connection.close()

    def _converse(self, sock: socket.socket, connection: Connection) -> None:
        client = self._negotiate(sock, connection)
        most = client.max_data_xfer_size
        session = Session(self._model, connection, self.faults, most=most, timeout=self._timeout)
        self._bus.connect(session.service.memory, session.service.irqs, session.requests)
        try:
            session.run()
        finally:
            self._bus.disconnect()
            session.close()
            self._renew()

    def _negotiate(self, sock: socket.socket, connection: Connection) -> Capabilities:
        """Take the client's VERSION and answer it. A client that says something else is answered EINVAL, and closed."""
        _limit(sock, self._timeout)
        end = time.monotonic() + self._timeout
        while (message := connection.pop()) is None:
            if time.monotonic() > end or not connection.fill():
                raise RemovedError("negotiate", device=self.label, why=f"no version within {self._timeout} s")
        close_all(message.fds)
        try:
            minor, client = _check_version(message)
        except WireError as error:
            connection.send(HEADER.pack(message.id, message.command, HEADER.size, REPLY | ERROR, errno.EINVAL))
            raise RemovedError("negotiate", device=self.label, why=str(error)) from error
        host = self._model.host_side() if client.host and isinstance(self._model, ExportedFunction) else False
        ours = Capabilities(max_msg_fds=MAX_FDS, write_multiple=client.write_multiple, host=host)
        body = encode_version(MAJOR, min(minor, MINOR), ours)
        connection.send(HEADER.pack(message.id, message.command, HEADER.size + len(body), REPLY, 0) + body)
        _limit(sock, 0)
        return client

    # --- between clients ----------------------------------------------------------------------------------------------

    def _read_config(self) -> bytes:
        size = self._model.region_info(RegionIndex.CONFIG).size
        return self._model.read(RegionIndex.CONFIG, 0, size)

    def _renew(self) -> None:
        """Make the device as it was for the first client: reset, and config space as the kernel restores it."""
        model = self._model
        with model.lock:
            model.write(RegionIndex.CONFIG, 4, bytes(2))  # command register: no bus master, no decoding
            model.reset()
            now = self._read_config()
            for at in range(0, len(now), 4):
                if now[at : at + 4] != self._config[at : at + 4]:
                    model.write(RegionIndex.CONFIG, at, self._config[at : at + 4])
            model.act()


def _check_version(message: Message) -> tuple[int, Capabilities]:
    if message.fault:
        malformed("message", "whole", message.fault)
    if message.flags & TYPE_MASK != COMMAND or message.command != Command.VERSION:
        malformed("command", "VERSION first", message.command)
    if message.fds:
        malformed("descriptors", "none with VERSION", len(message.fds))
    major, minor, client = decode_version(message.payload)
    if major != MAJOR:
        malformed("major version", str(MAJOR), major)
    return minor, client


def _limit(sock: socket.socket, seconds: float) -> None:
    """Bound how long a receive waits; 0 is for ever."""
    whole = int(seconds)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", whole, int((seconds - whole) * 1e6)))


def _listen(path: str) -> tuple[socket.socket, int]:
    """A listening socket at ``path``, and the inode of its file. A stale one, without a listener, is replaced."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # The file takes its mode from here: it is never open to others, not even for a moment.
        os.fchmod(sock.fileno(), 0o600)
        try:
            sock.bind(path)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not _stale(path):
                raise
            os.unlink(path)
            sock.bind(path)
        inode = os.lstat(path).st_ino
        sock.listen(8)
    except OSError as error:
        sock.close()
        raise _explain(path, error) from error
    return sock, inode


def _stale(path: str) -> bool:
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(path) == errno.ECONNREFUSED


def _explain(path: str, error: OSError) -> Exception:
    what = f"serve on {path}"
    if "too long" in str(error):
        return UsageError(
            what, why="a socket's path must be shorter than 108 bytes", hint="use a shorter one, under /run or /tmp"
        )
    if error.errno == errno.EADDRINUSE:
        try:
            served = stat.S_ISSOCK(os.stat(path).st_mode)
        except OSError:
            why = "a link that leads nowhere is there"
            return DeviceBusy(what, why=why, hint="choose another path, or remove the link")
        if not served:
            why = "a file that is no socket is there"
            return DeviceBusy(what, why=why, hint="choose another path, or remove the file")
        why = "another server listens there"
        return DeviceBusy(what, why=why, hint="choose another path, or stop the other server")
    kind = AccessDenied if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) else SetupError
    return kind(what, hint="choose a folder that is there and that you may write to", errno=error.errno)

# SPDX-License-Identifier: Apache-2.0
"""vfio-user: a device on the far side of a UNIX socket. ``Server`` serves a model, ``SocketLink`` reaches a server."""

from vfio_ims.vfio_user.client import SocketLink
from vfio_ims.vfio_user.server import Server

__all__ = ["Server", "SocketLink"]

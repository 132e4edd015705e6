# SPDX-License-Identifier: Apache-2.0
"""What a request that breaks the protocol is answered with.

The cases have the names that libvfio-user's own suite gives them. Each is answered with the errno that libvfio-user
answers with, the connection stays where it stays there, and no descriptor of a refused request is kept.
"""

from __future__ import annotations

import errno

from vfio_ims.vfio_user.messages import DEVICE_INFO
from vfio_ims.vfio_user.wire import Command

INVALID = errno.EINVAL


def alive(raw):
    """The connection still serves."""
    assert raw.ask(Command.DEVICE_GET_INFO, DEVICE_INFO.pack(16, 0, 0, 0))[0] == 0

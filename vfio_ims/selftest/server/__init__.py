# SPDX-License-Identifier: Apache-2.0
"""Checks of other people's vfio-user servers: what VFIO promises, and what QEMU relies on."""

from vfio_ims.selftest.server.asked import Fire, ServerCheck
from vfio_ims.selftest.server.check import check_server

__all__ = ["Fire", "ServerCheck", "check_server"]

# SPDX-License-Identifier: Apache-2.0
"""The conformance suite on every driver that there is, on its models."""

from vfio_ims.testing.conformance import *  # noqa: F403
from vfio_ims.testing.conformance import idle, kind, pytestmark  # noqa: F401

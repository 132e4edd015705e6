# SPDX-License-Identifier: Apache-2.0
"""The conformance suite on every other kind of host than VT-d: the contract is the same whatever a message is.

A table with addresses of its own and one that shares them; with VFIO_IMS_FULL=1 (.ci/nightly) on every kind.
"""

import os

import pytest

from vfio_ims.platform import KINDS
from vfio_ims.testing.conformance import *  # noqa: F403
from vfio_ims.testing.conformance import idle, kind  # noqa: F401

_KINDS = [host for host in KINDS if host != "vtd"] if os.environ.get("VFIO_IMS_FULL") == "1" else ["amd", "its-smmu"]
_MODELS = ("minimal", "synopsys-edma")

pytestmark = pytest.mark.vfio(model=tuple(f"{model},platform={host}" for model in _MODELS for host in _KINDS))

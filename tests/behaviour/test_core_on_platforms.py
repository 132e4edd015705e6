# SPDX-License-Identifier: Apache-2.0
"""The core of the behavioural suite on other kinds of host than VT-d: other messages, the same behaviour.

On all of them and over a socket too with VFIO_IMS_FULL=1 (.ci/nightly).
"""

import os

import pytest

from tests.behaviour.test_donors import *  # noqa: F403
from tests.behaviour.test_ims_sharing import *  # noqa: F403
from tests.behaviour.test_ims_slots import *  # noqa: F403
from vfio_ims.platform import KINDS

del test_a_group_is_the_whole_table_if_you_like  # noqa: F821 - it has models of its own

FULL = os.environ.get("VFIO_IMS_FULL") == "1"
_HOSTS = [kind for kind in KINDS if kind != "vtd"] if FULL else ["amd", "compatibility", "its-smmu", "gicv2m"]

pytestmark = pytest.mark.vfio(
    model=tuple(f"minimal,platform={host}" for host in _HOSTS), mount=("mock", "vfio-user") if FULL else ("mock",)
)

# SPDX-License-Identifier: Apache-2.0
"""The core of the behavioural suite on every other kind of host than VT-d: other messages, the same behaviour."""

import os

import pytest

from tests.behaviour.test_donors import *  # noqa: F403
from tests.behaviour.test_ims_sharing import *  # noqa: F403
from tests.behaviour.test_ims_slots import *  # noqa: F403
from vfio_ims.platform import KINDS

del test_a_group_is_the_whole_table_if_you_like  # noqa: F821 - it has models of its own

pytestmark = pytest.mark.vfio(
    model=tuple(f"minimal,platform={kind}" for kind in KINDS if kind != "vtd"),
    mount=("mock", "vfio-user") if os.environ.get("VFIO_IMS_FULL") else ("mock",),
)

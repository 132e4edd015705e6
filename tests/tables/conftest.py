# SPDX-License-Identifier: Apache-2.0
"""Runs of pytest inside tests."""

from tests.testing.conftest import impatient as impatient
from tests.testing.conftest import inner as inner

# SPDX-License-Identifier: Apache-2.0
"""Runs of pytest inside tests."""

from tests.testing.conftest import inner as inner
from tests.testing.conftest import short_timeout as short_timeout

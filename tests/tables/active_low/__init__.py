# SPDX-License-Identifier: Apache-2.0
"""A family for tests: enable bits, and pending bits that are 0 while they pend."""

from vfio_ims.families import Family

family = Family(
    "test-active-low",
    ids=["1234:5a0a"],
    driver="driver:ActiveLow",
    models={"test-active-low": "model:ActiveLowModel"},
    title="test device: enable bits, and pending bits that are 0 while they pend",
)

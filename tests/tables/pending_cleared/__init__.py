# SPDX-License-Identifier: Apache-2.0
"""A family for tests: a pending bit in the control word that a 1 clears."""

from vfio_ims.families import Family

family = Family(
    "test-pending-cleared",
    ids=["1234:5a0b"],
    driver="driver:PendingCleared",
    models={"test-pending-cleared": "model:PendingClearedModel"},
    title="test device: a pending bit in the control word that a 1 clears",
)

# SPDX-License-Identifier: Apache-2.0
"""A family for tests: entries with their own addresses, and no mask."""

from vfio_ims.families import Family

family = Family(
    "test-maskless",
    ids=["1234:5a04"],
    driver="driver:Maskless",
    models={"test-maskless": "model:MasklessModel"},
    title="test device: entries with their own addresses, no mask",
)

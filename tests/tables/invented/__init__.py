# SPDX-License-Identifier: Apache-2.0
"""A family for tests: one address, masks in a bitmap, 16-bit data in 24-byte entries, a vector for errors."""

from vfio_ims.families import Family

family = Family(
    "test-invented",
    ids=["1234:5a06"],
    driver="driver:Invented",
    models={"test-invented": "model:InventedModel"},
    title="test device: one address, masks in a bitmap, 16-bit data in 24-byte entries, a vector for errors",
)

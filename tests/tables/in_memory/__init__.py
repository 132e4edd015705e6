# SPDX-License-Identifier: Apache-2.0
"""A family for tests: entries in memory that the device reads at each fire."""

from vfio_ims.families import Family

family = Family(
    "test-in-memory",
    ids=["1234:5a08"],
    driver="driver:InMemory",
    models={"test-in-memory": "model:InMemoryModel"},
    title="test device: entries in memory that the device reads at each fire",
)

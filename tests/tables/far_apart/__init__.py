# SPDX-License-Identifier: Apache-2.0
"""A family for tests: queues 4 KiB apart, data and an enable bit in one word, 20 address bits."""

from vfio_ims.families import Family

family = Family(
    "test-far-apart",
    ids=["1234:5a07"],
    driver="driver:FarApart",
    models={"test-far-apart": "model:FarApartModel"},
    title="test device: queues 4 KiB apart, data and an enable bit in one word, 20 address bits",
)

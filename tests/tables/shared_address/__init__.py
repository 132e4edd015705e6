# SPDX-License-Identifier: Apache-2.0
"""A family for tests: one address for all slots, 16-bit data, no mask."""

from vfio_ims.families import Family

family = Family(
    "test-shared-address",
    ids=["1234:5a01"],
    driver="driver:SharedAddress",
    models={"test-shared-address": "model:SharedAddressModel"},
    title="test device: one address for all slots, 16-bit data, no mask",
)

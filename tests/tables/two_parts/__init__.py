# SPDX-License-Identifier: Apache-2.0
"""A family for tests: two tables of different shape, in two BARs, that are one."""

from vfio_ims.families import Family

family = Family(
    "test-two-parts",
    ids=["1234:5a05"],
    driver="driver:TwoParts",
    models={"test-two-parts": "model:TwoPartsModel"},
    title="test device: two tables of different shape",
)

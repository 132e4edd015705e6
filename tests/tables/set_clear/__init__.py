# SPDX-License-Identifier: Apache-2.0
"""A family for tests: enable bits set and cleared in registers of their own."""

from vfio_ims.families import Family

family = Family(
    "test-set-clear",
    ids=["1234:5a09"],
    driver="driver:SetClear",
    models={"test-set-clear": "model:SetClearModel"},
    title="test device: enable bits set and cleared in registers of their own",
)

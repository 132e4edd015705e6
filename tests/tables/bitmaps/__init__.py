# SPDX-License-Identifier: Apache-2.0
"""A family for tests: masks and pending bits beside 24-byte entries."""

from vfio_ims.families import Family

family = Family(
    "test-bitmaps",
    ids=["1234:5a02"],
    driver="driver:Bitmaps",
    models={"test-bitmaps": "model:BitmapsModel"},
    title="test device: masks and pending bits beside 24-byte entries",
)

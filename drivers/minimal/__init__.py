# SPDX-License-Identifier: Apache-2.0
"""The smallest complete device: what an author of a driver copies."""

from vfio_ims.families import Family

family = Family(
    "minimal",
    ids=["1234:1a55"],
    driver="driver:Minimal",
    models={"minimal": "model:MinimalModel"},
    title="example device",
)

# SPDX-License-Identifier: Apache-2.0
"""A family for tests: slots in memory, handed over by a command."""

from vfio_ims.families import Family

family = Family(
    "test-context",
    ids=["1234:5a03"],
    driver="driver:Context",
    models={"test-context": "model:ContextModel"},
    title="test device: slots in memory, handed over by a command",
)

# SPDX-License-Identifier: Apache-2.0
"""The schemas are valid, stand alone, and begin alike."""

from __future__ import annotations

import pytest
from jsonschema import Draft202012Validator

from vfio_ims.errors import UsageError
from vfio_ims.provenance import provenance
from vfio_ims.schemas import ENVELOPE, names, schema


@pytest.mark.parametrize("name", names())
def test_a_schema_is_valid_and_begins_with_the_envelope(name: str) -> None:
    found = schema(name)
    Draft202012Validator.check_schema(found)
    assert found["properties"]["schema"] == {"const": f"vfio-ims/{name}"}
    assert set(ENVELOPE) <= set(found["properties"])
    assert set(ENVELOPE) <= set(found["required"])
    assert set(provenance()) <= set(ENVELOPE)


def test_an_unknown_schema_names_those_that_there_are() -> None:
    with pytest.raises(UsageError, match="selftest"):
        schema("selftets")

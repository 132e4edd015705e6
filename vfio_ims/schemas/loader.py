# SPDX-License-Identifier: Apache-2.0
"""Finding a schema among the files of this package."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from vfio_ims.errors import UsageError

__all__ = ["ENVELOPE", "names", "schema"]

ENVELOPE = ("schema", "schema_version", "tool_version", "commit", "time", "kernel")
"""The properties that every answer begins with."""

_ENDING = ".schema.json"


def names() -> list[str]:
    """The answers that have a schema."""
    return sorted(
        file.name.removesuffix(_ENDING) for file in files("vfio_ims.schemas").iterdir() if file.name.endswith(_ENDING)
    )


def schema(name: str) -> dict[str, Any]:
    """The schema of the answer called ``name``, as in its own ``"schema": "vfio-ims/NAME"``. UsageError for no such."""
    if name not in names():
        raise UsageError(f"find the schema {name!r}", why=f"there are {', '.join(names())}")
    found: dict[str, Any] = json.loads((files("vfio_ims.schemas") / f"{name}{_ENDING}").read_text(encoding="utf-8"))
    return found

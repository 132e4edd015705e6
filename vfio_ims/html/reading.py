# SPDX-License-Identifier: Apache-2.0
"""Reading results of old runs: from a file of ``--json``, or from a page that has them within it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from vfio_ims.errors import SetupError, UsageError
from vfio_ims.json_input import NotJson, read_json
from vfio_ims.schemas import ENVELOPE

__all__ = ["read_runs"]

_WITHIN = re.compile(r'<script type="application/json" id="record">(.*?)</script>', re.DOTALL)
_NEEDED = {"device", "driver", "mount", "verdict", "slots", "ladder", "steps", "findings", "not_quiet"}


def read_runs(where: str | Path) -> list[dict[str, Any]]:
    """The self-tests in a file: one, or both of a page of two.

    SetupError where it cannot be read, UsageError where it has no self-test's result.
    """
    try:
        text = Path(where).read_text(encoding="utf-8")
    except OSError as error:
        hint = "vfio-ims selftest DEVICE --json > FILE makes such a file, and selftest DEVICE --html FILE a page"
        raise SetupError(f"read the results {where}", errno=error.errno, hint=hint) from error
    except UnicodeDecodeError as error:
        raise _no_result(where, "it is no text") from error
    if text.lstrip()[:15].lower().startswith("<!doctype"):
        within = _WITHIN.search(text)
        if within is None:
            raise _no_result(where, "it is a page that was not made of a self-test")
        text = within[1]
    try:
        found = read_json(text)
    except NotJson as error:
        raise _no_result(where, str(error)) from error
    runs = found if isinstance(found, list) else [found]
    for run in runs:
        _check(where, run)
    return runs


def _check(where: str | Path, run: Any) -> None:
    if not isinstance(run, dict):
        raise _no_result(where, "it is JSON of something else")
    kind = run.get(ENVELOPE[0])
    if kind != "vfio-ims/selftest":
        raise _no_result(where, f"its schema is {kind!r}" if kind else "it names no schema of vfio-ims")
    version = str(run.get("schema_version", ""))
    if version.partition(".")[0] != "1":
        raise _no_result(where, f"its schema_version is {version!r}, and this version reads 1.x")
    missing = sorted(_NEEDED - run.keys())
    if missing:
        raise _no_result(where, f"it lacks {', '.join(missing)}")


def _no_result(where: str | Path, why: str) -> UsageError:
    hint = "give a file that vfio-ims selftest --json or --html wrote"
    return UsageError(f"read the results {where}", why=why, hint=hint)

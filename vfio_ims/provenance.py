# SPDX-License-Identifier: Apache-2.0
"""What an answer was made by: our version and commit, the kernel, the time."""

from __future__ import annotations

import platform
import re
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from vfio_ims import __version__

__all__ = ["commit", "provenance"]

_PLACE = Path(__file__).resolve().parents[1]
_SHA = re.compile(r"[0-9a-f]{40,64}")


@cache
def commit() -> str | None:
    """The git commit of the checkout that this package runs from; None where it was installed without one.

    Changes that are not committed do not show in it.
    """
    try:
        place = _PLACE / ".git"
        if place.is_file():  # a work tree beside its repository
            place = _PLACE / place.read_text().removeprefix("gitdir:").strip()
        return _resolved(place)
    except (OSError, UnicodeDecodeError):
        return None


def _resolved(place: Path) -> str | None:
    head = (place / "HEAD").read_text().strip()
    if not head.startswith("ref:"):
        return head if _SHA.fullmatch(head) else None
    name = head.removeprefix("ref:").strip()
    common = place / "commondir"
    shared = place / common.read_text().strip() if common.is_file() else place
    if (shared / name).is_file():
        return (shared / name).read_text().strip()
    for line in (shared / "packed-refs").read_text().splitlines():
        sha, _, ref = line.partition(" ")
        if ref == name:
            return sha
    return None


def provenance() -> dict[str, str | None]:
    """Plain values, as every JSON answer begins with them. The time is UTC, in ISO 8601."""
    return {
        "tool_version": __version__,
        "commit": commit(),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
    }

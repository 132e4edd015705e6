# SPDX-License-Identifier: Apache-2.0
"""Generated text in a file that is edited by hand: it stands between two marked lines, and is replaced there."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["put_blocks"]


def put_blocks(file: Path, text: str, source: str = "SystemRDL", option: str = "--rdl") -> None:
    """Put the classes into ``file``, in the place of those that an earlier run had from ``source``, else at the end.

    ``option``: that of ``vfio-ims new`` which renews them.
    """
    start = f"# --- from {source}: made again by vfio-ims new {option}, edits in here are lost ---"
    end = f"# --- end of {source} ---"
    whole = file.read_text(encoding="utf-8")
    new = f"{start}\n\n\n{text}\n\n{end}\n"
    found = re.compile(f"{re.escape(start)}.*?{re.escape(end)}\n?", re.DOTALL)
    if found.search(whole):
        whole = found.sub(lambda _: new, whole)
    else:
        whole = f"{whole.rstrip()}\n\n\n{new}"
    wanted = [
        name for name in ("Block", "Register", "Repeat", "bit", "bits") if re.search(rf"\b{name}\(|\({name}\)", text)
    ]
    file.write_text(_importing(whole, wanted), encoding="utf-8")


def _importing(text: str, names: list[str]) -> str:
    """``text`` with these names among those that it imports from ``vfio_ims.registers``."""
    line = re.search(r"^from vfio_ims\.registers import ([^\n(]+)$", text, re.MULTILINE)
    if line is None:
        return text
    have = [name.strip() for name in line[1].split(",")]
    all_names = sorted({*have, *names}, key=lambda name: (name[0].islower(), name))
    return text[: line.start(1)] + ", ".join(all_names) + text[line.end(1) :]

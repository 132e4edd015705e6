# SPDX-License-Identifier: Apache-2.0
"""What the compiled module was made from, as one word: compiled in by the build, compared when it is loaded.

Plain Python without imports from the package: the build runs this file before the package can be imported.
"""

import hashlib
from pathlib import Path

__all__ = ["sources", "stamp"]

_HERE = Path(__file__).parent


def sources(suffix: str) -> list[Path]:
    """The C files of this folder with that suffix, in a fixed order."""
    return sorted(path for path in _HERE.glob(f"*{suffix}") if path.name != "_native.c")


def stamp(version: str) -> str:
    """The package's version and a digest of every C file beside this one."""
    digest = hashlib.sha256()
    for path in sources(".h") + sources(".c"):
        text = path.read_bytes()
        digest.update(f"{path.name} {len(text)}\n".encode() + text)
    return f"{version} {digest.hexdigest()[:32]}"

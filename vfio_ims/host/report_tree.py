# SPDX-License-Identifier: Apache-2.0
"""The files of a report, checked before one of them is written: the report may come from anywhere.

A path or link that the package writes itself is in one form only, and every other form is refused: no empty part, no
``.`` or ``..`` but at the beginning of a link's target, no way over a link, nothing that leads out of the folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from vfio_ims.counted import counted

__all__ = ["lay_out"]

_MOST_NODES = 20_000
_DEEPEST = 24  # the longest path that sysfs has here is a third of it: a device behind six bridges
_LONGEST = 255  # bytes in one name: NAME_MAX of include/uapi/linux/limits.h
_KINDS = ("text", "hex", "link", "folder")


def lay_out(root: Path, files: object) -> None:
    """Write the files of a report below ``root``, an empty folder of this process alone.

    Folders first, then files, then links, so that nothing is ever written over a link. Raises ValueError for a tree
    that no report has, before anything is written.
    """
    folders, contents, links = _checked(files)
    for path in sorted(folders):
        (root / path).mkdir()
    for path, data in contents.items():
        with open(root / path, "xb") as file:
            file.write(data)
    for path, target in links.items():
        (root / path).symlink_to(target)


def _checked(files: object) -> tuple[set[str], dict[str, bytes], dict[str, str]]:
    """Folders, contents of files, and targets of links, by canonical path."""
    if not isinstance(files, dict):
        raise ValueError(f"files must be a table by path, not a {type(files).__name__}")
    if len(files) > _MOST_NODES:
        raise ValueError(f"it has {counted(len(files), 'file')}, and no report has more than {_MOST_NODES}")
    folders: set[str] = set()
    contents: dict[str, bytes] = {}
    links: dict[str, str] = {}
    for path, entry in files.items():
        parts = _parts(path)
        folders.update("/".join(parts[:count]) for count in range(1, len(parts)))
        kind, value = _entry(path, entry)
        if kind == "folder":
            folders.add(path)
        elif kind == "link":
            links[path] = _target(path, value)
        else:
            contents[path] = bytes.fromhex(value) if kind == "hex" else f"{value}\n".encode()
        if len(folders) > _MOST_NODES:
            raise ValueError(f"it has more than {_MOST_NODES} folders")
    for path in (*contents, *links):
        if path in folders:
            raise ValueError(f"{path!r} is a folder and a {'link' if path in links else 'file'}")
    return folders, contents, links


def _parts(path: str) -> tuple[str, ...]:
    """The names in a path below the root."""
    parts = tuple(path.split("/"))
    if not all(map(_is_name, parts)):
        raise ValueError(f"{path!r} is no path below the root")
    if len(parts) > _DEEPEST:
        raise ValueError(
            f"{path[:80]!r}... is {counted(len(parts), 'folder')} deep, and no report has more than {_DEEPEST}"
        )
    return parts


def _is_name(part: str) -> bool:
    return part not in ("", ".", "..") and part.isprintable() and len(part.encode()) <= _LONGEST


def _entry(path: str, entry: object) -> tuple[str, str]:
    """Kind and value of one entry."""
    if not isinstance(entry, Mapping) or len(entry) != 1:
        raise ValueError(f"{path!r} must have one of {', '.join(_KINDS)}")
    kind, value = _only(entry)
    if kind not in _KINDS or (kind != "folder" and not isinstance(value, str)):
        raise ValueError(f"{path!r} must have one of {', '.join(_KINDS)}, as text")
    return kind, str(value)


def _only(entry: Mapping[Any, Any]) -> tuple[Any, Any]:
    ((kind, value),) = entry.items()
    return kind, value


def _target(path: str, target: str) -> str:
    """``target`` of the link at ``path``: upwards first, within the root, and then only downwards.

    So it means the same read as text and followed by the kernel, whatever other links there are on its way.
    """
    parts = target.split("/")
    up = next((number for number, part in enumerate(parts) if part != ".."), len(parts))
    if up >= len(PurePosixPath(path).parts) or not all(map(_is_name, parts[up:])):
        raise ValueError(f"the link {path!r} leads out, or is not in the form that a report has")
    return target

# SPDX-License-Identifier: Apache-2.0
"""One file for a bug report: written on one machine, read on another in place of the device (``report:FILE``)."""

from __future__ import annotations

import json
import os
import platform
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vfio_ims import __version__
from vfio_ims.errors import SetupError
from vfio_ims.host.machine import Machine, Node

if TYPE_CHECKING:
    from vfio_ims.sysfs import Function

__all__ = ["SCHEMA", "make_report", "opened"]

SCHEMA = "vfio-ims/report"
_FORMAT = "1.0"
_LARGEST = 16 << 20
_NODE = re.compile(r"/dev/(vfio/(vfio|\d+|devices/vfio\d+)|iommu)")


def make_report(machine: Machine, function: Function) -> dict[str, Any]:
    """All about one function and its machine, as plain values. Left out: names of host and users, addresses, serial

    numbers, kernel options that have nothing to do with devices.
    """
    from vfio_ims.host.capture import Capture
    from vfio_ims.host.description import describe
    from vfio_ims.host.doctor import diagnose
    from vfio_ims.host.survey import Survey

    capture = Capture(machine)
    capture.take(function)
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "schema_version": _FORMAT,
        "tool_version": __version__,
        "device": str(function.address),
        "versions": _versions(machine),
        "candidate": Survey(machine).candidate(function).to_json(),
        "doctor": [result.to_json() for result in diagnose(machine, function)],
        "files": capture.files,
        "nodes": capture.nodes,
        "holders": capture.holders,
    }
    # Decoded from what the report has, so that it says no more than that.
    with _laid_out(content) as (_, same):
        described = describe(same)
    content["description"] = None if described is None else described.to_json()
    name = machine.user.name
    if name in ("root", "USER"):
        return content
    # Advice names the user: sudo usermod -aG vfio alice.
    anonymous: dict[str, Any] = json.loads(re.sub(rf"\b{re.escape(name)}\b", "USER", json.dumps(content)))
    return anonymous


def _versions(machine: Machine) -> dict[str, str]:
    found = {"kernel": machine.release, "python": platform.python_version(), "machine": platform.machine()}
    for package in ("cffi", "pyudev", "click", "rich"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[tuple[Machine, Function]]:
    """The machine of a report and the function that it is about, until the ``with`` ends. Raises SetupError."""
    try:
        if os.path.getsize(path) > _LARGEST:
            raise ValueError(f"it is larger than {_LARGEST >> 20} MiB")
        content = json.loads(Path(path).read_text())
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            raise ValueError("it is no report of vfio-ims")
        if str(content.get("schema_version")).split(".")[0] != _FORMAT.split(".")[0]:
            raise ValueError(f"it has format {content.get('schema_version')}, and this version reads {_FORMAT}")
    except OSError as error:
        raise SetupError(f"read the report {path}", errno=error.errno) from error
    except ValueError as error:
        why, hint = str(error), "vfio-ims report DEVICE writes one"
        raise SetupError(f"read the report {path}", why=why, hint=hint) from error
    with _laid_out(content, str(path)) as found:
        yield found


@contextmanager
def _laid_out(content: dict[str, Any], name: str = "") -> Iterator[tuple[Machine, Function]]:
    """Lay the files out in a folder: then everything that reads sysfs reads them."""
    with tempfile.TemporaryDirectory(prefix="vfio-ims-report-") as folder:
        root = Path(folder).resolve()
        try:
            for path, entry in content["files"].items():
                _lay(root, path, entry)
            nodes = {str(path): Node(str(path), **entry) for path, entry in content["nodes"].items()}
            for node, holders in content["holders"].items():
                _hold(root, node, holders)
            machine = Machine(root, nodes)
            function = machine.function(content["device"])
        except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
            why = f"it is damaged: {error}"
            raise SetupError(f"read the report {name}", why=why, hint="have it written again") from error
        if function is None:
            raise SetupError(f"read the report {name}", why=f"it is damaged: it has no function {content['device']}")
        yield machine, function


def _inside(root: Path, path: str) -> Path:
    """``path`` below ``root``, reached over no link."""
    place = Path(os.path.normpath(root / path))
    if os.path.isabs(path) or not place.is_relative_to(root) or place == root:
        raise ValueError(f"{path!r} is no path below the root")
    if Path(os.path.realpath(place.parent)) != place.parent:
        raise ValueError(f"{path!r} leads over a link")
    return place


def _lay(root: Path, path: str, entry: dict[str, Any]) -> None:
    place = _inside(root, path)
    if "folder" in entry:
        place.mkdir(parents=True, exist_ok=True)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    if "link" in entry:
        target = Path(os.path.normpath(place.parent / entry["link"]))
        if os.path.isabs(entry["link"]) or not target.is_relative_to(root):
            raise ValueError(f"the link {path!r} leads out")
        place.symlink_to(entry["link"])
    elif "hex" in entry:
        place.write_bytes(bytes.fromhex(entry["hex"]))
    else:
        place.write_text(f"{entry['text']}\n")


def _hold(root: Path, node: str, holders: list[dict[str, Any]]) -> None:
    if not _NODE.fullmatch(node):
        raise ValueError(f"{node!r} is no node of VFIO's")
    for holder in holders:
        folder = root / "proc" / str(int(holder["pid"]))
        (folder / "fd").mkdir(parents=True, exist_ok=True)
        (folder / "comm").write_text(f"{holder['name']}\n")
        link = folder / "fd" / str(len(os.listdir(folder / "fd")))
        link.symlink_to(node)

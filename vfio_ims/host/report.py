# SPDX-License-Identifier: Apache-2.0
"""One file for a bug report: written on one machine, read on another in place of the device (``report:FILE``)."""

from __future__ import annotations

import os
import platform
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from vfio_ims import __version__
from vfio_ims.errors import SetupError
from vfio_ims.host.machine import Holder, Machine, Node
from vfio_ims.host.redaction import redact
from vfio_ims.host.report_tree import lay_out
from vfio_ims.json_input import read_json

if TYPE_CHECKING:
    from vfio_ims.sysfs import Function

__all__ = ["SCHEMA", "make_report", "opened"]

SCHEMA = "vfio-ims/report"
_T = TypeVar("_T")
_FORMAT = "1.0"
_LARGEST = 16 << 20
_NODE = re.compile(r"/dev/(vfio/(vfio|\d+|devices/vfio\d+)|iommu)")


def make_report(machine: Machine, function: Function) -> dict[str, Any]:
    """All about one function and its machine, as plain values.

    Left out: names of host and users, addresses, serial numbers, kernel options that have nothing to do with devices.
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
    redact(content, machine.user.name)
    # Decoded from what the report has, so that it says no more than that.
    with _laid_out(content) as (_, same):
        described = describe(same)
    content["description"] = None if described is None else described.to_json()
    return content


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
    """The machine of a report and the function that it is about, until the ``with`` ends.

    The file may come from anywhere: one that is no regular file, too large, nested too deep, or that no version of the
    package wrote so, is refused. Raises SetupError.
    """
    try:
        content = read_json(_read(path))
        if not isinstance(content, dict) or content.get("schema") != SCHEMA:
            raise ValueError("it is no report of vfio-ims")
        if str(content.get("schema_version")).split(".")[0] != _FORMAT.split(".")[0]:
            raise ValueError(f"it has format {content.get('schema_version')!r}, and this version reads {_FORMAT}")
    except OSError as error:
        raise SetupError(f"read the report {path}", errno=error.errno) from error
    except ValueError as error:
        hint = "vfio-ims report DEVICE writes one"
        raise SetupError(f"read the report {path}", why=str(error), hint=hint) from error
    with _laid_out(content, str(path)) as found:
        yield found


def _read(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a regular file: reading a pipe or a device could last for ever, or be felt by it."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError("it is no regular file: save it to one first")
    with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is no regular file")
        data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise ValueError(f"it is larger than {_LARGEST >> 20} MiB")
    return data


@contextmanager
def _laid_out(content: dict[str, Any], name: str = "") -> Iterator[tuple[Machine, Function]]:
    """Lay the files out in a folder: then everything that reads sysfs reads them."""
    with tempfile.TemporaryDirectory(prefix="vfio-ims-report-") as folder:
        root = Path(folder).resolve()
        try:
            lay_out(root, content["files"])
            nodes = {path: _node(path, entry) for path, entry in content["nodes"].items()}
            holders = {path: tuple(map(_holder, found)) for path, found in content["holders"].items()}
            for path in (*nodes, *holders):
                if not _NODE.fullmatch(path):
                    raise ValueError(f"{path!r} is no node of VFIO's")
            machine = Machine(root, nodes, holders)
            function = machine.function(content["device"])
        except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
            why = f"it is damaged: {error}"
            raise SetupError(f"read the report {name}", why=why, hint="have it written again") from error
        if function is None:
            raise SetupError(f"read the report {name}", why=f"it is damaged: it has no function {content['device']!r}")
        yield machine, function


def _node(path: str, entry: dict[str, Any]) -> Node:
    owner, group = _typed(entry, "owner", str), _typed(entry, "group", str)
    return Node(path, _typed(entry, "mode", int), owner, group, _typed(entry, "accessible", bool))


def _holder(entry: dict[str, Any]) -> Holder:
    return Holder(_typed(entry, "pid", int), _typed(entry, "name", str))


def _typed(entry: dict[str, Any], name: str, kind: type[_T]) -> _T:
    value = entry[name]
    if type(value) is not kind:
        raise ValueError(f"{name} must be of type {kind.__name__}, not {value!r:.80}")
    return value

# SPDX-License-Identifier: Apache-2.0
"""A self-test's report as KernelCI's database takes results (KCIDB's I/O schema, version 5).

``vfio-ims selftest DEVICE --json | python -m vfio_ims.labs.kcidb --origin LAB --build LAB:BUILD > results.json``
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from typing import Any

from vfio_ims.labs.standard_streams import convert

__all__ = ["to_kcidb"]

_STATUS = {"passed": "PASS", "failed": "FAIL", "not applicable": "SKIP", "not run": "MISS", "interrupted": "ERROR"}
_CONDITIONS = ("kernel", "device", "mount", "slots", "donors", "timeout_s", "conditions")


def to_kcidb(report: Mapping[str, Any], *, origin: str, build: str) -> dict[str, Any]:
    """One test for the whole, and one for each rung and step below it; counts and latencies are in ``misc``.

    ``report``: the answer of ``selftest --json``. ``origin``: the lab's name in KCIDB, small letters, digits and _.
    ``build``: the id of the kernel build that was run, as in ``redhat:1234``. ValueError where these have another form.
    """
    if not re.fullmatch(r"[a-z0-9_]+", origin) or not re.fullmatch(r"[a-z0-9_]+:.+", build):
        raise ValueError(f"origin must be of a-z, 0-9 and _, build ORIGIN:ID, not {origin!r} and {build!r}")
    name = f"{_slug(str(report['device']))}-{_slug(str(report.get('time', '')))}"
    root = f"vfio_ims.{_slug(str(report['driver']))}"
    misc = {key: report[key] for key in _CONDITIONS if key in report}
    common = {"build_id": build, "origin": origin}
    whole = common | {
        "id": f"{origin}:{name}",
        "path": root,
        "status": _STATUS[report["verdict"]],
        "duration": report["seconds"],
        "comment": "; ".join(str(finding["text"]) for finding in report["findings"]) or "no findings",
        "misc": {"vfio_ims": misc | {key: report[key] for key in ("fired", "delivered", "lost", "latency")}},
    }
    if "time" in report:
        whole["start_time"] = report["time"]
    tests = [whole]
    for part in [*report["ladder"], *report["steps"]]:
        slug = _slug(str(part["name"]))
        one: dict[str, Any] = common | {"id": f"{origin}:{name}-{slug}", "path": f"{root}.{slug}"}
        one["status"] = _STATUS[part["outcome"]]
        if part["text"]:
            one["comment"] = part["text"]
        if "seconds" in part:
            one["duration"] = part["seconds"]
            one["misc"] = {"vfio_ims": part["counts"]}
        tests.append(one)
    return {"version": {"major": 5, "minor": 0}, "tests": tests}


def _slug(text: str) -> str:
    """As a part of a test's path: letters, digits, - and _."""
    return re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_").lower() or "none"


def main(arguments: Sequence[str] | None = None) -> None:
    """Standard input to standard output."""
    parser = argparse.ArgumentParser(prog="python -m vfio_ims.labs.kcidb", description="selftest --json for KCIDB")
    parser.add_argument("--origin", required=True, help="the lab's name in KCIDB")
    parser.add_argument("--build", required=True, metavar="ORIGIN:ID", help="the kernel build that was run")
    given = parser.parse_args(arguments)
    convert(parser, lambda report: to_kcidb(report, origin=given.origin, build=given.build))


if __name__ == "__main__":
    main()

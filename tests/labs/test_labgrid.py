# SPDX-License-Identifier: Apache-2.0
"""A place of a labgrid lab, with a real coordinator and exporter: acquired, tested on the exporter's side, released."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from tests.labs.conftest import Lab, Program, start_exporter

USE = """
import json
from labgrid import Environment

environment = Environment("env.yaml")
target = environment.get_target("main")
driver = target.get_driver("VfioDriver")
{body}
target.cleanup()
"""


def use(lab: Lab, body: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(lab.python(USE.format(body=body)).splitlines()[-1])
    return found


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def keepers(exporter: Program) -> dict[str, int]:
    """The keepers of this exporter that run, by their socket."""
    found = {}
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = place.read_bytes().split(b"\0")
            parent = int((place.parent / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):  # it has ended meanwhile
            continue
        if b"vfio_ims.labs.keeper" in words and parent == exporter.pid:
            found[os.fsdecode(words[-2])] = int(place.parent.name)
    return found


def test_a_place_is_acquired_tested_and_released(lab: Lab) -> None:
    lab.place("dut", "ci/bench/NetworkVfioModel/VfioModel")
    lab.client("-p", "dut", "acquire")
    (served,) = keepers(lab.exporter)
    assert "already acquired" in lab.client("-p", "dut", "acquire", status=1)

    said = use(
        lab,
        "info = driver.info()\n"
        "driver.write(0x100, 4, bytes(8))\n"
        "report = driver.selftest({'slots': 4, 'reset': False, 'timeout': 30})\n"
        "values = driver.batch([('read', 7, 0, 2), ('read', 7, 2, 2)])\n"
        "driver.reset()\n"
        "try:\n"
        "    driver.batch([('peek', 0)])\n"
        "except Exception as error:\n"
        "    refused = [type(error).__name__, str(error)]\n"
        "found = {'info': info, 'findings': report['findings'], 'values': values, 'words': refused} | report\n"
        "print(json.dumps(found | {'read': len(driver.read(0, 4, 8))}))",
    )
    assert said["info"]["id"] == "1234:1a55"
    assert said["findings"] == []
    assert said["fired"] == said["delivered"] > 0
    assert said["values"] == [0x1234, 0x1A55]
    assert said["read"] == 32
    kind, words = said["words"]
    assert kind == "UsageError"
    assert "an operation must be read, write or poll" in words
    assert Path(served).exists()

    lab.client("-p", "dut", "release")
    deadline = time.monotonic() + 60
    while served in keepers(lab.exporter) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert served not in keepers(lab.exporter)
    lab.client("-p", "dut", "delete")


def test_a_server_that_ends_makes_its_resource_unavailable(lab: Lab) -> None:
    lab.place("dut", "ci/bench/NetworkVfioModel/second")
    lab.client("-p", "dut", "acquire")
    (served,) = keepers(lab.exporter)
    os.kill(keepers(lab.exporter)[served], 9)
    lab.exporter.wait_for("the server of minimal has ended")
    deadline = time.monotonic() + 60
    while "NetworkVfioModel" in lab.client("resources", "ci/bench/NetworkVfioModel/second"):  # shows what is available
        assert time.monotonic() < deadline
    lab.client("-p", "dut", "release")
    lab.client("-p", "dut", "delete")


def test_an_exporter_that_is_killed_leaves_nothing_behind(lab: Lab, tmp_path: Path) -> None:
    resources = tmp_path / "exports.yaml"
    resources.write_text("victim:\n  VfioModel:\n    model: minimal\n")
    lab.place("short", "*/victim/*")
    with start_exporter(lab, resources, "victim") as exporter:
        lab.client("-p", "short", "acquire")
        (served,) = keepers(exporter)
        keeper = keepers(exporter)[served]
        exporter.kill()
        assert gone(keeper)
        assert not Path(served).exists()

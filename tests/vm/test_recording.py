# SPDX-License-Identifier: Apache-2.0
"""What is recorded over a real kernel's VFIO replays on this machine, where no such device is.

One interrupt of each kind in the gate, and a self-test with VFIO_IMS_FULL=1 (.ci/nightly).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.vm.served import Lab
from vfio_ims.cli.main import cli
from vfio_ims.tracing import read_recording

COMMANDS = {"demo": ["demo"]}
if os.environ.get("VFIO_IMS_FULL") == "1":
    COMMANDS["selftest"] = ["selftest", "--slots", "4", "--no-reset", "--timeout", "20"]


@pytest.mark.parametrize("verb", COMMANDS)
def test_a_run_over_the_kernel_replays_without_a_difference(shared_lab: Lab, verb: str, tmp_path: Path) -> None:
    there, path = f"/tmp/{verb}.jsonl", tmp_path / "kernel.jsonl"
    name, *options = COMMANDS[verb]
    traced = ["--trace", there, "--trace-memory"]
    shared_lab.run(["vfio-ims", name, shared_lab["dsa"], *options, *traced], timeout=1200).check()
    path.write_text(shared_lab.guest.run(["cat", there]).stdout)
    assert read_recording(path).header["mount"] in ("cdev", "group")
    result = CliRunner().invoke(cli, [name, f"replay:{path}", *options], standalone_mode=False)
    assert result.exception is None, result.stderr  # a difference would be one
    assert result.return_value in (None, 0)

# SPDX-License-Identifier: Apache-2.0
"""Every answer of every verb keeps to the schema that is shipped for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from tests.host.box import DSA, report_in_use, saved
from vfio_ims.cli.main import main
from vfio_ims.host.events import DeviceEvent, EventKind
from vfio_ims.pci import PciAddress
from vfio_ims.provenance import provenance
from vfio_ims.schemas import names, schema


def check(answer: dict[str, Any], name: str) -> None:
    assert answer["schema"] == f"vfio-ims/{name}"
    Draft202012Validator(schema(name), format_checker=FormatChecker()).validate(answer)


@pytest.fixture
def reported(tmp_path: Path) -> str:
    """A function of another machine, which is in use."""
    return saved(report_in_use(tmp_path), tmp_path)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("list --all", "list"),
        ("list REPORT", "list"),
        ("show mock:minimal", "show"),
        ("show mock:intel-dsa,dvsec=absent", "show"),
        ("show mock:minimal,mappable=no", "show"),
        ("show REPORT", "show"),
        ("doctor", "doctor"),
        ("doctor REPORT", "doctor"),
        ("read mock:intel-dsa GENCAP COMMAND BAR0+0.B", "read"),
        ("read REPORT VENDOR_ID", "read"),
        ("read mock:intel-dsa", "registers"),
        ("reset mock:minimal", "reset"),
        ("reset mock:minimal,flr=no", "reset"),
        ("udev check", "udev-check"),
        ("monitor mock:minimal -n 2 --interval 0.01", "monitor"),
        ("selftest mock:minimal --slots 4 --no-reset", "selftest"),
        ("selftest mock:minimal --store NO_DOORBELL", "store"),
        ("prove mock:minimal --slots 4", "prove"),
        ("prove mock:minimal,mappable=no", "prove"),
    ],
)
def test_an_answer_keeps_to_its_schema(
    words: str, name: str, reported: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    store = tmp_path / "store.toml"
    store.write_text(
        'title = "entries, no doorbell"\n[[table]]\nbar = 0\noffset = 0x1000\ncount = 16\nstride = 16\n'
        if "NO_DOORBELL" in words
        else ""
    )
    arguments = words.replace("REPORT", reported).replace("NO_DOORBELL", str(store)).split()
    with pytest.raises(SystemExit):
        main([*arguments, "--json"])
    printed = capsys.readouterr().out
    documents = printed.splitlines() if name == "monitor" else [printed]
    assert documents
    for document in documents:
        check(json.loads(document), name)


def test_an_event_keeps_to_its_schema() -> None:
    event = DeviceEvent(EventKind.BOUND, PciAddress.parse(DSA), "8086:0b25", "vfio-pci")
    check({"schema": "vfio-ims/event", "schema_version": "1.1", **provenance(), **event.to_json()}, "event")


def test_no_answer_is_without_a_schema() -> None:
    """The list of the verbs that have ``--json`` is the command line's own."""
    from vfio_ims.cli.main import _VERBS, cli

    context = cli.make_context("vfio-ims", ["demo"])
    having = set()
    for verb in _VERBS:
        command = cli.get_command(context, verb)
        assert command is not None
        if any("--json" in one.opts for one in command.params):
            having.add(verb)
    assert having <= set(names())

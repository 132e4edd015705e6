# SPDX-License-Identifier: Apache-2.0
"""A self-test's report in KCIDB's own schema."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

import vfio_ims
from vfio_ims import selftest
from vfio_ims.labs.kcidb import main, to_kcidb

_MISSING = "kcidb-io is not installed: .ci/setup dev"
schema = pytest.importorskip("kcidb_io.schema", reason=_MISSING)


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    with vfio_ims.open_driver("mock:minimal") as driver:
        return dict(selftest.run(driver, options=selftest.Options(slots=2, timeout=30)).to_json())


def test_what_is_written_is_of_the_schema(report, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(report | {"time": "2026-11-29T13:45:08+00:00"})))
    main(["--origin", "lab", "--build", "lab:1"])
    document = json.loads(capsys.readouterr().out)
    assert schema.LATEST.is_compatible(document)
    schema.LATEST.validate(document)
    tests = {test["path"]: test for test in document["tests"]}
    assert len(tests) == len({test["id"] for test in document["tests"]}) == len(document["tests"])
    assert tests["vfio_ims.minimal"]["status"] == "PASS"
    assert tests["vfio_ims.minimal.pasids"]["status"] == "SKIP"
    assert tests["vfio_ims.minimal.masks"]["misc"]["vfio_ims"]["withheld"] == 2


def test_a_failure_says_why(report):
    failed = report | {"verdict": "failed", "findings": [{"text": "slot 1 was lost"}]}
    whole = to_kcidb(failed, origin="lab", build="lab:1")["tests"][0]
    assert (whole["status"], whole["comment"]) == ("FAIL", "slot 1 was lost")
    with pytest.raises(ValueError, match="origin must be of"):
        to_kcidb(report, origin="My Lab", build="lab:1")

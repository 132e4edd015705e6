# SPDX-License-Identifier: Apache-2.0
"""The report as JSON: it keeps to the schema that is shipped, and has the result of every slot."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

import vfio_ims
from tests.selftest.devices import PASIDS, make_model, open_model
from vfio_ims.driver import Driver
from vfio_ims.provenance import provenance
from vfio_ims.schemas import schema
from vfio_ims.selftest import Kind, Options, Outcome, SlotResult, run

FAST = Options(timeout=0.1, settle=0.01, dwell=0.004)


def checked(driver: Driver) -> dict[str, Any]:
    """The answer of a run, as the verb prints it."""
    with driver:
        content = {k: v for k, v in run(driver, options=FAST).to_json().items() if k not in ("schema", "kind")}
    answer: dict[str, Any] = {"schema": "vfio-ims/selftest", "schema_version": "1.1", **provenance(), **content}
    Draft202012Validator(schema("selftest")).validate(answer)
    return answer


def parts(answer: dict[str, Any]) -> dict[tuple[str, str], dict[str, list[str]]]:
    return {(column["step"], column["part"]): column["results"] for column in answer["slot_results"]}


def test_every_slot_of_a_sound_device_is_there_in_every_part() -> None:
    answer = checked(open_model(make_model(20, 3, **PASIDS)).driver)
    found = parts(answer)
    assert found["donor passes", "pass 3"] == {"delivered": ["0-19"]}
    assert found["masks", "fired masked"] == {"withheld": ["0-19"]}
    assert found["masks, after it", "unmasked"] == {"delivered": ["0-19"]}
    assert found["PASIDs", "another PASID"] == {"withheld": ["0-19"]}
    assert found["reset", ""] == {"woken": ["0-19"]}
    assert found["neighbours", "others closed"] == {"delivered": ["0-19"]}
    vectors = [column["vectors"] for column in answer["slot_results"] if column["step"] == "donor passes"]
    assert len({tuple(sequence) for sequence in zip(*vectors, strict=True)}) == 20  # each slot's own donors
    assert len(answer["latency"]["samples_us"]) == answer["latency"]["count"] == 20


@pytest.mark.parametrize(
    ("defect", "part", "result", "slots"),
    [
        ("alias", ("donor passes", "pass 2"), "misrouted", "0-7"),  # their entries were written last for 8-15
        ("ignores-mask", ("masks", "fired masked"), "unexpected", "0-15"),
        ("forgets", ("donor passes, after it", "pass 1"), "lost", "8-15"),
    ],
)
def test_a_defect_shows_in_its_slots_in_its_part(defect: str, part: tuple[str, str], result: str, slots: str) -> None:
    answer = checked(vfio_ims.open_driver(f"mock:minimal,defect={defect}"))
    assert answer["verdict"] == "failed"
    assert parts(answer)[part][result] == [slots]


def test_where_a_message_went_astray_is_said() -> None:
    answer = checked(vfio_ims.open_driver("mock:minimal,defect=alias"))
    column = next(c for c in answer["slot_results"] if (c["step"], c["part"]) == ("donor passes", "pass 2"))
    assert column["astray"] == [[slot, column["vectors"][slot + 8]] for slot in range(8)]


def test_the_words_of_the_schema_are_those_of_the_report() -> None:
    definitions = schema("selftest")
    finding = definitions["properties"]["findings"]["items"]["properties"]["kind"]["enum"]
    assert set(finding) == {kind.value for kind in Kind}
    assert set(definitions["$defs"]["column"]["properties"]["results"]["propertyNames"]["enum"]) == set(SlotResult)
    assert {outcome.value for outcome in Outcome} <= set(definitions["$defs"]["outcome"]["enum"])

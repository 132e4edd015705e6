# SPDX-License-Identifier: Apache-2.0
"""accel-config's files: loaded, applied to a device, saved, loaded again; what show tells."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.intel_idxd.conftest import Opener
from tests.intel_idxd.memory import arena
from vfio_ims.drivers.intel_idxd.driver import Dsa
from vfio_ims.drivers.intel_idxd.driver.accel_config import bitmap_text, load, save
from vfio_ims.drivers.intel_idxd.driver.capabilities import Capabilities
from vfio_ims.drivers.intel_idxd.driver.configuration import Configuration, Group, Queue
from vfio_ims.drivers.intel_idxd.hardware.registers import Bar0
from vfio_ims.errors import UsageError

# The shape of accel-config's own contrib/configs/app_profile.conf.
PROFILE = """[
  {
    "dev":"dsa0",
    "token_limit":4,
    "groups":[
      {
        "dev":"group0.0",
        "tokens_reserved":0,
        "use_token_limit":0,
        "tokens_allowed":8,
        "grouped_workqueues":[
          {"dev":"wq0.0", "mode":"dedicated", "size":16, "group_id":0, "priority":10, "block_on_fault":1,
           "max_batch_size":32, "max_transfer_size":16384, "type":"user", "driver_name":"user", "name":"app1",
           "threshold":0}
        ],
        "grouped_engines":[{"dev":"engine0.0", "group_id":0}, {"dev":"engine0.1", "group_id":0}]
      },
      {
        "dev":"group0.1",
        "grouped_workqueues":[
          {"dev":"wq0.3", "mode":"shared", "size":32, "group_id":1, "priority":5, "threshold":20, "ats_disable":1}
        ],
        "grouped_engines":[{"dev":"engine0.2", "group_id":1}]
      }
    ]
  },
  {"dev":"iax1", "groups":[]}
]"""

GROUP = """"dev":"group0.1",
        """
QUEUES = '"grouped_workqueues":['

CAPABILITIES = Capabilities(
    Bar0.VERSION.value(0x100),
    Bar0.GENCAP.value(0x40_915F_0107),
    Bar0.WQCAP.value(queues=8, total_size=128),
    Bar0.GRPCAP.value(groups=4, read_buffers=96),
    Bar0.ENGCAP.value(engines=4),
    0x1_003F_03FF,
    Bar0.OFFSETS.value(0),
    0,
)


def test_a_profile_becomes_the_devices_configuration(dsa: Dsa) -> None:
    found = load(PROFILE, dsa.capabilities, "dsa0")
    assert found.read_buffer_limit == 4
    first, second = found.queues
    assert (first.size, first.block_on_fault, first.max_batch_shift, first.max_transfer_shift) == (16, True, 5, 14)
    assert (second.index, second.dedicated, second.threshold, second.ats, second.priority) == (3, False, 20, False, 5)
    assert [group.engines for group in found.groups] == [(0, 1), (2,), (), ()]
    dsa.configure(found)
    assert sorted(dsa.queues) == [0, 3]
    memory = arena(dsa)
    with dsa.wq(0) as wq, dsa.wq(3) as other:
        assert wq.fill(memory.at(0), 1, 16384).ok
        assert wq.submit.memmove(memory.at(0), memory.at(8), 16384 + 1).wait(check=False).status == 0x13
        assert other.fill(memory.at(0), 1, 8).ok
    words = dict(dsa.details())
    assert words["group 0"] == "work queues 0, engines 0, 1, read buffers 8"
    assert words["work queue 3"] == "shared, size 32, priority 5, enabled, occupancy 0"
    assert words["op_cap"].endswith("(00000000,00000000,00000000,00000000,00000000,00000000,00000001,003f03ff)")
    assert words["ims_size"] == "256"
    assert words["errors"] == "none"


def test_what_is_saved_is_loaded_again(dsa: Dsa) -> None:
    for configuration in (Configuration.even(dsa.capabilities), load(PROFILE, dsa.capabilities, "dsa0")):
        text = save(configuration, dsa.capabilities, "dsa3")
        assert json.loads(text)[0]["groups"][0]["grouped_workqueues"][0]["dev"] == "wq3.0"
        assert save(load(text, dsa.capabilities), dsa.capabilities, "dsa3") == text


def keys(entry: object) -> set[str]:
    """All that a file would have accel-config write."""
    if isinstance(entry, list):
        return set().union(*map(keys, entry))
    return set(entry) | keys(list(entry.values())) if isinstance(entry, dict) else set()


def test_nothing_is_saved_that_linux_refuses_for_the_device(opened: Opener) -> None:
    """Found by loading with accel-config into the kernel's driver: it gives up at the first refusal."""
    always = {"read_buffer_limit", "read_buffers_allowed", "max_batch_size"}
    for options, name, there in (
        ("", "intel-dsa", always),
        ("version=2", "intel-dsa", always),
        ("version=3", "intel-dsa", always | {"traffic_class_a", "traffic_class_b"}),
        ("", "intel-iaa", set()),
    ):
        driver = opened(options, name)
        saved = keys(json.loads(save(Configuration.even(driver.capabilities), driver.capabilities)))
        assert saved & (always | {"traffic_class_a", "traffic_class_b"}) == there, (options, name)
        driver.close()


def test_a_class_that_accel_config_left_out_is_the_devices_default(opened: Opener) -> None:
    """Its save-config of a version 3, whose classes are 0, has none: seen with Linux' idxd in a guest."""
    for options, chosen in (("version=2", 1), ("version=3", 0)):
        driver = opened(options, "intel-dsa")
        even = Configuration.even(driver.capabilities)
        text = re.sub(r'\s*"traffic_class_[ab]": \d,', "", save(even, driver.capabilities))
        assert "traffic" not in text
        loaded = load(text, driver.capabilities)
        assert {(group.traffic_class_a, group.traffic_class_b) for group in loaded.groups} == {(chosen, chosen)}
        assert loaded.groups == even.groups
        driver.close()


queues = st.builds(
    Queue,
    index=st.just(0),
    size=st.integers(1, 16),
    group=st.integers(0, 3),
    dedicated=st.booleans(),
    priority=st.integers(1, 15),
    threshold=st.integers(0, 16),
    block_on_fault=st.booleans(),
    ats=st.booleans(),
    prs=st.booleans(),
    max_transfer_shift=st.integers(0, 31),
    max_batch_shift=st.integers(0, 10),
    operations=st.none() | st.integers(0, 2**256 - 1),
    name=st.text("abc", min_size=1, max_size=5),
    labels=st.just((("type", "kernel"),)),
)
groups = st.builds(
    Group,
    index=st.just(0),
    engines=st.lists(st.integers(0, 3), unique=True).map(tuple),
    read_buffers_reserved=st.integers(0, 96),
    read_buffers_allowed=st.integers(0, 96),
    use_read_buffer_limit=st.booleans(),
    traffic_class_a=st.integers(0, 7),
    traffic_class_b=st.integers(0, 7),
    descriptor_progress_limit=st.integers(0, 3),
    batch_progress_limit=st.integers(0, 3),
)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(queues, max_size=8), st.lists(groups, min_size=4, max_size=4), st.integers(0, 96), st.sampled_from((0, 64))
)
def test_any_configuration_goes_there_and_back(q: list[Queue], g: list[Group], limit: int, log: int) -> None:
    before = Configuration(
        tuple(replace(one, index=n) for n, one in enumerate(q)),
        tuple(replace(one, index=n) for n, one in enumerate(g)),
        limit,
        log,
    )
    assert load(save(before, CAPABILITIES), CAPABILITIES) == before


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nonsense", "the text: line 1, column 1: a value is expected"),
        ("{}", "a list of devices"),
        ("[]", "it has no device: name one"),
        (PROFILE, "it has dsa0, iax1: name one"),
        ('[{"dev":"dsa0","groups":[{"dev":"wq0.0"}]}]', "dev must be groupN.M, not 'wq0.0'"),
        ('[{"dev":"dsa0","groups":[5]}]', "there must be an object, not 5"),
        ('[{"dev":"dsa0","groups":[{"dev":"group0.0","grouped_workqueues":[{"dev":"wq0.0","modus":1}]}]}]', "'mode'"),
        (
            '[{"dev":"dsa0","groups":[{"dev":"group0.0","grouped_workqueues":[{"dev":"wq0.0","mode":"x"}]}]}]',
            "dedicated",
        ),
        (
            '[{"dev":"dsa0","groups":[{"dev":"group0.0","grouped_workqueues":[{"dev":"wq0.0","max_batch_size":3}]}]}]',
            "power of two, not 3",
        ),
        (
            '[{"dev":"dsa0","groups":[{"dev":"group0.0","grouped_workqueues":[{"dev":"wq0.0","op_config":"x"}]}]}]',
            "op_config",
        ),
    ],
)
def test_what_cannot_be_loaded_says_why(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        load(text, CAPABILITIES)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"dev":"dsa0",', '"dev":"dsa0", "token_limits":4,', "dsa0: a device's attribute must be .*'token_limit"),
        ('"dev":"group0.1",', '"dev":"group0.1", "trafic_class_a":1,', "group0.1: a group's .*mean 'traffic_class_a'"),
        ('"dev":"engine0.2",', '"dev":"engine0.2", "grp":1,', "engine0.2: an engine's attribute must be .*not 'grp'"),
        ('"dev":"wq0.3",', '"dev":"wq0.3", "modus":1,', "wq0.3: a work queue's attribute must be .*mean 'mode'"),
        ('"mode":"shared",', '"mode":"shared", "size":1,', """begins {"dev": "wq0.3" has 'size' twice"""),
        ('"dev":"dsa0",', '"dev":"dsa0", "dev":"dsa1",', """begins {"dev": "dsa0" has 'dev' twice"""),
        ('"token_limit":4,', '"token_limit":4, "read_buffer_limit":4,', "dsa0 has 'read_buffer_limit' twice: 'token_l"),
        ("wq0.3", "wq0.0", "work queue 0 is there twice"),
        ("iax1", "dsa0", "device dsa0 is there twice"),
        ("group0.1", "group0.0", "group 0 is there twice"),
        ('"block_on_fault":1,', '"block_on_fault":1', r"dsa.conf: line 13, column 12: a comma or the closing bracket"),
    ],
)
def test_names_that_are_unknown_or_there_twice_are_refused_with_the_place(old: str, new: str, words: str) -> None:
    assert old in PROFILE
    with pytest.raises(UsageError, match=words):
        load(PROFILE.replace(old, new, 1), CAPABILITIES, "dsa0", file="dsa.conf")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"size": 70000}, "size of work queue 3 must be 0 to 65535, not 70000"),
        ({"priority": 16}, "priority of work queue 3 must be 0 to 15, not 16"),
        ({"threshold": -1}, "threshold of work queue 3 must be 0 to 65535, not -1"),
        ({"max_batch_shift": 16}, "max_batch_shift of work queue 3 must be 0 to 15, not 16"),
        ({"group": 9}, "the group of work queue 3 must be 0 to 3, not 9"),
        ({"index": 8}, "the index of a work queue must be 0 to 7, not 8"),
    ],
)
def test_a_queue_that_does_not_fit_is_refused_by_its_field_before_anything_stops(
    dsa: Dsa, changes: dict[str, int], words: str
) -> None:
    before, even = dsa.configuration, Configuration.even(dsa.capabilities)
    with pytest.raises(UsageError, match=words):
        queues = tuple(replace(q, **changes) if q.index == 3 else q for q in even.queues)
        dsa.configure(replace(even, queues=queues))
    assert dsa.configuration is before
    memory = arena(dsa)
    with dsa.wq(3) as wq:
        assert wq.fill(memory.at(0), 1, 64).ok


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"traffic_class_a": 8}, "traffic_class_a of group 1 must be 0 to 7, not 8"),
        ({"read_buffers_allowed": 256}, "read_buffers_allowed of group 1 must be 0 to 255, not 256"),
        ({"engines": (4,)}, "an engine of group 1 must be 0 to 3, not 4"),
    ],
)
def test_a_group_that_does_not_fit_is_refused_by_its_field(dsa: Dsa, changes: dict[str, object], words: str) -> None:
    even = Configuration.even(dsa.capabilities)
    groups = tuple(replace(g, **changes) if g.index == 1 else g for g in even.groups)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=words):
        dsa.configure(replace(even, groups=groups))


def test_an_unknown_device_is_named() -> None:
    with pytest.raises(UsageError, match="device must be one of dsa0, iax1, not 'dsa1'; did you mean 'dsa0'"):
        load(PROFILE, CAPABILITIES, "dsa1")


def test_bitmaps_are_written_as_sysfs_does() -> None:
    assert bitmap_text(0x1_003F_03FF) == "00000000," * 6 + "00000001,003f03ff"


def test_show_tells_it(opened: Opener) -> None:
    words = dict(opened(name="intel-iaa").details())
    assert words["max_engines"] == "8"
    assert "decompress, compress, crc64" in words["op_cap"]
    assert words["interrupt handles"] == "the table's indices"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"size":16', '"size":"many"', "size of wq0.0 must be a number from 0 on, not 'many'"),
        ('"size":16', '"size":null', "size of wq0.0 must be a number from 0 on, not None"),
        ('"size":16', '"size":-4', "size of wq0.0 must be a number from 0 on, not -4"),
        ('"size":16', '"size":Infinity', "Infinity is no number in JSON"),
        ('"group_id":0, "priority"', '"group_id":-1, "priority"', "group_id of wq0.0 must be a number from 0 on"),
        ('"token_limit":4', '"token_limit":"x"', "read_buffer_limit of dsa0 must be a number"),
        ('"max_batch_size":32', '"max_batch_size":null', "max_batch_size of wq0.0 must be a number"),
        ('"groups":[\n', '"groups":5, "ungrouped_workqueues":[\n', "groups must be a list, not 5"),
        (
            GROUP + '"grouped_workqueues":[',
            GROUP + '"grouped_workqueues":null, "use_token_limit":[',
            "must be a list, not N",
        ),
    ],
)
def test_values_of_another_kind_are_refused_by_name(old: str, new: str, words: str) -> None:
    assert old in PROFILE
    with pytest.raises(UsageError, match=words):
        load(PROFILE.replace(old, new, 1), CAPABILITIES, "dsa0")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[" * 200_000, "nested too deep"),
        (PROFILE.replace("engine0.1", "engine0." + "9" * 5000), "dev must be engineN.M"),
        (PROFILE.replace("engine0.1", "engine0.99999999"), "dev must be engineN.M"),
        (PROFILE.replace("wq0.3", "wq0.99999999"), "dev must be wqN.M"),
        (PROFILE.replace("group0.1", "group0.99999999"), "dev must be groupN.M"),
    ],
)
def test_what_is_too_large_is_refused_before_anything_is_built(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as refused:
        load(text, CAPABILITIES, "dsa0")
    assert len(str(refused.value)) < 300

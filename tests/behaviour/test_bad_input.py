# SPDX-License-Identifier: Apache-2.0
"""Names that are no devices, options that do not exist, unknown devices: each error says what to do next.

Elsewhere: slots outside the table (test_ims_slots.py), closed devices (test_lifetime.py), forked children
(test_threads.py), a table that cannot be mapped (test_mock_platform.py), a server that is gone (test_server_gone.py);
the kernel's refusals in tests/backends/kernel, lying servers in tests/vfio_user.
"""

from __future__ import annotations

import json
import math
import pickle
import re
from collections.abc import Callable
from typing import Any

import pytest

import vfio_ims
from vfio_ims.backends.software.device import SoftwareDevice
from vfio_ims.backends.software.in_process import InProcessLink
from vfio_ims.drivers.minimal.model import MinimalModel
from vfio_ims.errors import SetupError, UsageError, VfioImsError
from vfio_ims.ims import ImsInterrupt
from vfio_ims.names import Name, open_port
from vfio_ims.platform import Platform


@pytest.mark.parametrize("name", ["", "nonsense", "usb:1", "0000:6a:01", "6a:01.9", "mock", "/dev/vfio/12", "a b"])
def test_a_name_that_is_no_device(name: str) -> None:
    for opener in (vfio_ims.open, vfio_ims.open_driver, open_port):
        with pytest.raises(UsageError) as caught:
            opener(name)
        error = caught.value
        assert "is neither a PCI address such as 0000:6a:01.0, nor mock:MODEL, nor vfio-user:PATH" in str(error)
        assert repr(name) in str(error)
        assert "vfio-ims list" in error.hint


@pytest.mark.parametrize(("name", "wants"), [("mock:", "a model"), ("vfio-user:", "a socket's path")])
def test_half_a_name(name: str, wants: str) -> None:
    with pytest.raises(UsageError, match=f"{name} must be followed by {wants}"):
        vfio_ims.open(name)


def test_an_unknown_model() -> None:
    with pytest.raises(UsageError, match=r"model must be one of .*, not 'minimul'; did you mean 'minimal'\?"):
        vfio_ims.open("mock:minimul")


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("colour=red", "option must be one of"),
        ("merge=sometimes", "merge must be one of always, never, random, not 'sometimes'"),
        ("remapping=perhaps", "remapping must be yes or no, not 'perhaps'"),
        ("seed=x", "seed must be a number, not 'x'"),
        ("dynamc=no", "did you mean 'dynamic'"),
        ("defect=all", "defect must be one of"),
        ("seed=1,merge=never,seed=2", "the option seed is given twice"),
    ],
)
def test_an_option_that_cannot_be(option: str, says: str) -> None:
    with pytest.raises(UsageError, match=says.replace("?", r"\?")):
        vfio_ims.open(f"mock:minimal,{option}")


def test_an_option_that_a_server_would_have_to_take() -> None:
    with pytest.raises(UsageError, match=r"option of vfio-user: must be one of .*, not 'flr'"):
        vfio_ims.open("vfio-user:/run/x.sock,flr=no")


def test_a_socket_without_a_server(tmp_path: object) -> None:
    with pytest.raises(SetupError) as caught:
        vfio_ims.open(f"vfio-user:{tmp_path}/none.sock")
    assert f"{tmp_path}/none.sock" in str(caught.value)
    assert "vfio-ims serve" in caught.value.hint


def test_names_survive_a_round_trip() -> None:
    for text in ("mock:minimal,merge=never,seed=7", "vfio-user:/run/a b.sock", "0000:6a:01.0,iommu=type1"):
        assert str(Name.parse(text)) == text
    assert str(Name.parse("6a:1.0")) == "0000:6a:01.0"


def test_a_device_that_no_family_knows_is_opened_bare_only() -> None:
    class Stranger(MinimalModel):
        id = "1af4:1105"

    port = SoftwareDevice(InProcessLink(Stranger()), Platform(), "mock:stranger")
    from vfio_ims.device import Device
    from vfio_ims.families import family_for

    with Device(port) as device:
        vendor, number = device.config.read(0, 2), device.config.read(2, 2)
        with pytest.raises(SetupError, match=r"no family knows 1af4:1105; there are .*minimal") as caught:
            family_for(vendor, number, device.name)
        assert "--driver PATH" in caught.value.hint


def test_two_mounts_do_not_share_an_address_space() -> None:
    with vfio_ims.open("mock:minimal") as device:
        for other in ("0000:00:00.0", "vfio-user:/nobody/here.sock"):
            with pytest.raises(VfioImsError):
                vfio_ims.open(other, share=device)


NUMBER = "must be a number from 0 to "


WRONG: list[tuple[Callable[[Any, ImsInterrupt], object], str]] = [
    (lambda d, irq: d.fire("a"), "must be a number"),
    (lambda d, irq: d.fire(None), "must be a number"),
    (lambda d, irq: d.fire(1.5), "must be a number"),
    (lambda d, irq: d.fire_vector("a"), "must be a number"),
    (lambda d, irq: d.ims.allocate(slot="a"), f"slot {NUMBER}"),
    (lambda d, irq: d.ims.allocate(slot=1.5), f"slot {NUMBER}"),
    (lambda d, irq: d.ims.allocate(slot=-1), "slot must be below"),
    (lambda d, irq: d.ims.allocate(vector="a"), f"vector {NUMBER}"),
    (lambda d, irq: d.ims.allocate(vector=99), "vector must be below"),
    (lambda d, irq: d.ims.allocate(pasid="x"), f"pasid {NUMBER}1048575"),
    (lambda d, irq: d.ims.allocate(exclusive="yes"), "exclusive must be True or False, not 'yes'"),
    (lambda d, irq: d.ims.allocate(masked="no"), "masked must be True or False, not 'no'"),
    (lambda d, irq: d.ims.allocate(any_pasid=1), "any_pasid must be True or False, not 1"),
    (lambda d, irq: d.ims.allocate_group("4"), "count must be a number, 1 or more, not '4'"),
    (lambda d, irq: d.ims.allocate_group(1.5), "count must be a number, 1 or more, not 1.5"),
    (lambda d, irq: d.ims.allocate_group(2, cookies=5), "cookies must be a list of 2, one a slot, not 5"),
    (lambda d, irq: d.ims.allocate_polled(slot="a"), f"slot {NUMBER}"),
    (lambda d, irq: d.ims.allocate_polled(pasid="a"), f"pasid {NUMBER}1048575"),
    (lambda d, irq: d.ims.write("a", irq.message), f"slot {NUMBER}"),
    (lambda d, irq: d.ims.write(0, "x"), "message must be a Message"),
    (lambda d, irq: d.ims.retarget(["a"], [0]), f"slot {NUMBER}"),
    (lambda d, irq: irq.wait("x"), "timeout must be seconds, or None to wait for ever, not 'x'"),
    (lambda d, irq: irq.wait(math.nan), "timeout must be seconds"),
    (lambda d, irq: irq.wait([]), "timeout must be seconds"),
]


@pytest.mark.parametrize("model", ["minimal", "intel-dsa,slots=256"])
def test_a_value_of_the_wrong_kind(model: str) -> None:
    with vfio_ims.open_driver(f"mock:{model}") as driver, driver.ims.allocate() as irq:
        for what, says in WRONG:
            with pytest.raises(UsageError, match=re.escape(says)):
                what(driver, irq)
        driver.fire(irq.slot)
        assert irq.wait(timeout=math.inf)  # for ever is a time, and nothing above has done any harm
        assert driver.ims.allocated == [irq.slot]


def test_a_domain_says_what_it_is() -> None:
    with vfio_ims.open_driver("mock:minimal") as driver:
        domain = driver.ims
        domain.allocate_group(3)
        assert repr(domain) == "<ImsDomain of mock:minimal: 3 of 16 slots allocated, 3 donors>"
    assert repr(domain) == "<ImsDomain of mock:minimal, closed>"


def test_errors_carry_their_parts() -> None:
    with pytest.raises(UsageError) as caught:
        vfio_ims.open("mock:minimul")
    error = caught.value
    assert error.operation == "make the model minimul"
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.why) == (type(error), str(error), error.why)
    json.dumps({"operation": error.operation, "device": error.device, "why": error.why, "hint": error.hint})

# SPDX-License-Identifier: Apache-2.0
"""What ``vfio-ims show`` says of the host's messages, and of what a shared address can carry there."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vfio_ims.cli.main import main


@pytest.fixture
def show(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """What is printed, in one line with single spaces."""
    monkeypatch.setenv("COLUMNS", "500")

    def run(name: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["show", name])
        assert ended.value.code == 0
        return " ".join(capsys.readouterr().out.split())

    return run


@pytest.mark.parametrize(
    ("platform", "messages", "shared"),
    [
        ("vtd", "VT-d handle", "no, each MSI-X message is a VT-d handle in an address of its own"),
        ("amd", "AMD-Vi index", "yes, AMD-Vi has one address for all, and the index in the data"),
        ("compatibility", "x86 compatibility format", "no, each message has its CPU in the address"),
        ("its-smmu", "GICv3 ITS", "yes, messages are written to the ITS's doorbell, with the event in the data"),
    ],
)
def test_show_names_the_messages_and_what_one_address_carries(
    show: Callable[[str], str], platform: str, messages: str, shared: str
) -> None:
    text = show(f"mock:synopsys-edma,platform={platform}")
    assert f"messages: {messages} (the software platform" in text
    assert shared in text


def test_show_names_the_addresses_that_are_no_memory(show: Callable[[str], str]) -> None:
    assert "never memory: 0x8000000 to 0x80fffff" in show("mock:minimal,platform=its-smmu")


def test_gicv2m_is_unsafe_and_needs_no_checks(show: Callable[[str], str]) -> None:
    text = show("mock:minimal,platform=gicv2m")
    assert "remapping OFF: any function can raise these interrupts" in text
    assert "all vectors are taken up front (NORESIZE)" in text

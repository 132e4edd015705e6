# SPDX-License-Identifier: Apache-2.0
"""``vfio-ims reset``: reset a device, and see that it came back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vfio_ims.cli import exits
from vfio_ims.cli.output import device_options, echo, json_option, print_json, with_interface
from vfio_ims.errors import UsageError

if TYPE_CHECKING:
    from vfio_ims.host.resetting import Attempt, Finding
    from vfio_ims.ports.values import AffectedFunction

__all__ = ["command"]

_METHODS = {"function": "FUNCTION", "hot": "HOT", "d3": "D3"}


@click.command()
@device_options
@click.option("--method", type=click.Choice(list(_METHODS)), help="This way only.  [function, then hot, then d3]")
@json_option
def command(device: str, iommu: str | None, method: str | None, as_json: bool) -> int:
    """Tries a function reset, a hot reset of the slot or bus, and D3hot and back, until one is done.

    Opens the device, which resets it already where the kernel can: what this adds is the answer. Says which other
    functions a hot reset takes along, what the kernel said to each way that it refused, and whether ids, BARs and the
    registers that the driver declares came back with the values that they have after a reset.
    """
    from vfio_ims.errors import SetupError
    from vfio_ims.families import blocks_of, family_for
    from vfio_ims.host import Machine
    from vfio_ims.host.resetting import ORDER, Before, affected, attempt, verify
    from vfio_ims.host.selection import is_software, not_here
    from vfio_ims.names import Name, open_device
    from vfio_ims.ports.values import ResetMethod

    if device.startswith("report:"):
        raise UsageError("reset", device=device, why="a report can be looked at, not opened")
    known = Machine().function(device.partition(",")[0])
    if known is None and not is_software(device):
        raise not_here(device, "reset it", software=True)
    name = Name.parse(with_interface(device if known is None else str(known.address), iommu))
    with open_device(name) as opened:
        header = opened.config.header
        try:
            blocks = blocks_of(family_for(header.vendor, header.device))
        except SetupError:
            blocks = {}
        before, others = Before.of(opened), affected(opened)
        tried: list[Attempt] = []
        for way in ORDER if method is None else (ResetMethod[_METHODS[method]],):
            if way is ResetMethod.HOT and others and not as_json:
                echo(f"a hot reset takes along: {_named(others)}")
            tried.append(attempt(opened, way))
            if not as_json:
                echo(f"{way.value}: {'done' if tried[-1].done else f'refused: {tried[-1].why}'}")
            if tried[-1].done:
                break
        done = tried[-1].done
        found = verify(opened, before, blocks) if done else []
    if as_json:
        print_json("reset", _content(device, tried, others, found))
    for finding in () if as_json else found:
        word = {True: "ok", False: "FAIL", None: "unknown"}[finding.ok]
        echo(f"{finding.check}: {word}: {finding.text}")
    return exits.OK if done and all(finding.ok is not False for finding in found) else exits.FAILED


def _named(others: tuple[AffectedFunction, ...]) -> str:
    return ", ".join(f"{one} ({'ours' if one.owned else 'not ours: it will be refused'})" for one in others)


def _content(
    device: str, tried: list[Attempt], others: tuple[AffectedFunction, ...], found: list[Finding]
) -> dict[str, object]:
    return {
        "device": device,
        "attempts": [one.to_json() for one in tried],
        "hot_reset_takes_along": [{"address": one.address, "owned": one.owned, "group": one.group} for one in others],
        "findings": [one.to_json() for one in found],
    }

# SPDX-License-Identifier: Apache-2.0
"""``vfio-ims write``: single registers of config space and BARs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vfio_ims.cli import exits
from vfio_ims.cli.output import device_options, echo
from vfio_ims.errors import DeviceBusy, UsageError

if TYPE_CHECKING:
    from vfio_ims.sysfs import Function

__all__ = ["command"]


@click.command()
@device_options
@click.argument("writes", nargs=-1, required=True, metavar="REGISTER=VALUE[:MASK]...")
@click.option("--live", is_flag=True, help="Open the device through VFIO, which resets it, instead of using sysfs.")
@click.option("-n", "--dry-run", is_flag=True, help="Say what would be written, and write nothing. Masks are read for.")
@click.option("--force", is_flag=True, help="Also a read-only register, and a device in use.")
def command(device: str, iommu: str | None, writes: tuple[str, ...], live: bool, dry_run: bool, force: bool) -> int:
    """REGISTER as in vfio-ims read. VALUE is hex; with MASK only those bits change, the others are read first.

    Several values with commas between go to the registers that follow. Each is one access, in the order given. Writes
    to the MSI-X table are refused: the kernel owns it. So are writes to read-only registers, without --force, and then
    none of the others is made.
    """
    from vfio_ims.cli.registers import registers, shown
    from vfio_ims.families import blocks_of
    from vfio_ims.host.register_access import decoded
    from vfio_ims.host.register_names import parse_write

    if device.startswith("report:"):
        raise UsageError("write a register", device=device, why="a report can only be read")
    with registers(device, iommu, live) as (target, family, function):
        if function is not None and not force and not dry_run:
            _check_free(function)
        blocks = blocks_of(family)
        planned = [write for text in writes for write in parse_write(text, target.capabilities, blocks)]
        for write in planned:
            if write.place.read_only and not force:
                why = f"{write.place.title} is read-only: a device may drop the write, or take it for something else"
                hint = "--force, if you want to see what it does"
                raise UsageError("write a register", device=device, why=why, hint=hint)
        for write in planned:
            value = write.merged(0 if write.mask is None else target.read(write.place))
            text, _ = shown(write.place, value, decoded(write.place, value, target.capabilities))
            if dry_run:
                echo(f"would write {write.place}: {text}")
            else:
                target.write(write.place, value)
                echo(f"wrote {text}")
    return exits.OK


def _check_free(function: Function) -> None:
    """Raise DeviceBusy where the function is in use: its user does not expect a write by another process."""
    from vfio_ims.backends.kernel.claim import claimed_by
    from vfio_ims.host import Machine
    from vfio_ims.host.in_use import Uses

    uses = list(Uses(Machine()).of(function))
    owner = claimed_by(str(function))
    if owner is not None:
        uses.append(f"{owner} has it open")
    if uses:
        hint = "--force, if you know what its user will make of it"
        raise DeviceBusy("write a register", device=str(function), why="; ".join(uses), hint=hint)

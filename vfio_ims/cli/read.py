# SPDX-License-Identifier: Apache-2.0
"""``vfio-ims read``: single registers of config space and BARs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vfio_ims.cli import exits
from vfio_ims.cli.output import device_options, json_option, print_json, print_lines

if TYPE_CHECKING:
    from vfio_ims.registers import Register

__all__ = ["command"]


@click.command()
@device_options
@click.argument("names", nargs=-1, metavar="[REGISTER]...")
@click.option("--live", is_flag=True, help="Open the device through VFIO, which resets it, instead of using sysfs.")
@json_option
def command(device: str, iommu: str | None, names: tuple[str, ...], live: bool, as_json: bool) -> int:
    """Read registers of DEVICE, which may be report:FILE. Each is read once, in one access.

    REGISTER is as in setpci: COMMAND, 4.W, CAP_MSIX+2.W, ECAP0023+14.L@1; BAR0+1000.L (or .Q) for a BAR; or a name
    that the device's driver declares: GENCAP, BAR0.STATUS, TABLE[3].STATE. A name that both have must be said in full:
    CONFIG.STATUS or BAR0.STATUS. Numbers are hex. Without any: the names that the driver declares.
    """
    from vfio_ims.cli.registers import registers, shown
    from vfio_ims.families import blocks_of
    from vfio_ims.host.register_access import decoded
    from vfio_ims.host.register_names import find_register

    with registers(device, iommu, live) as (target, family, _):
        blocks = blocks_of(family)
        if not names:
            declared = [
                (f"BAR{number}.{name}", register)
                for number, block in blocks.items()
                for name, register in block.registers.items()
            ]
            if as_json:
                print_json("registers", {"device": device, "registers": [_declared(*one) for one in declared]})
                return exits.OK
            width = max((len(name) for name, _ in declared), default=0)
            for name, register in declared:
                facts = f"+{register.offset:x}, {register.width} bits, {register.access}"
                print_lines(f"{name:{width}}  {facts:<20}  {register.__doc__ or ''}".rstrip())
            return exits.OK if declared else exits.NOTHING
        places = [find_register(name, target.capabilities, blocks) for name in names]
        lines = []
        for place in places:
            value = target.read(place)
            lines.append(shown(place, value, decoded(place, value, target.capabilities)))
    if as_json:
        print_json("read", {"device": device, "registers": [content for _, content in lines]})
    else:
        for text, _ in lines:
            print_lines(text)
    return exits.OK


def _declared(name: str, register: Register) -> dict[str, object]:
    return {
        "register": name,
        "offset": register.offset,
        "width": register.width // 8,
        "access": str(register.access),
        "meaning": register.__doc__ or "",
    }

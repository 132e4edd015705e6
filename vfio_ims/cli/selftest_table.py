# SPDX-License-Identifier: Apache-2.0
"""``vfio-ims selftest --table``: a slot table declared by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vfio_ims.cli.output import echo, print_json
from vfio_ims.errors import UsageError

if TYPE_CHECKING:
    from vfio_ims.driver import Driver

__all__ = ["open_declared", "run_table"]


def run_table(name: str, table: str, fire: str | None, as_json: bool) -> bool:
    """Check the entries, print the result, and return whether all is well. With ``fire``, JSON is the self-test's."""
    import vfio_ims
    from vfio_ims.host.declared import parse_table
    from vfio_ims.host.table_check import check_table

    layout = parse_table(table)
    with vfio_ims.open(name) as device:
        findings = check_table(device, layout)
        name = device.name
    good = all(finding.good for finding in findings)
    if as_json and (fire is None or not good):
        print_json("table", {"device": name, "findings": [finding.to_json() for finding in findings]})
    elif not as_json:
        for finding in findings:
            echo(str(finding))
        if fire is None:
            echo("No slot was fired: --fire REGISTER says how, or a driver does (docs/writing-a-driver.md).")
    return good


def open_declared(name: str, table: str, fire: str | None) -> Driver:
    """The device with a driver that knows its table, and the register that fires slots."""
    import vfio_ims
    from vfio_ims.host.declared import DeclaredTable, declared_driver, parse_table
    from vfio_ims.host.register_names import find_register

    device = vfio_ims.open(name)
    try:
        doorbell = None if fire is None else find_register(fire, device.capabilities, {})
        if doorbell is not None and (doorbell.bar is None or doorbell.width > 8):
            raise UsageError(
                "declare a doorbell", device=name, why=f"it must be in a BAR, as BAR0+8.L is, not {fire!r}"
            )
        driver = declared_driver(DeclaredTable(parse_table(table), doorbell))
    except BaseException:
        device.close()
        raise
    return driver.start_on(device)

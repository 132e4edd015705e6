# SPDX-License-Identifier: Apache-2.0
"""``vfio-ims selftest --store``: a message store described in a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vfio_ims.cli.output import echo, print_json

if TYPE_CHECKING:
    from vfio_ims.driver import Driver
    from vfio_ims.registers import Store

__all__ = ["check_store", "open_store"]


def check_store(name: str, store: Store, as_json: bool) -> bool:
    """Check the entries, print the result and what the description leaves open, and return whether all is well.

    Where slots can be fired JSON is the self-test's, which follows.
    """
    import vfio_ims
    from vfio_ims.host.table_check import check_table
    from vfio_ims.registers import MEMORY
    from vfio_ims.stores.driver import check_identity

    with vfio_ims.open(name) as device:
        device.config.memory = True
        check_identity(device, store)
        checked = [layout for layout in store.tables if layout.bar != MEMORY]
        findings = [finding for layout in checked for finding in check_table(device, layout)]
        name = device.name
    good, unknown = all(finding.good for finding in findings), store.unknown()
    if as_json and (store.fire is None or not good):
        content = [finding.to_json() for finding in findings]
        print_json("store", {"device": name, "title": store.title, "findings": content, "unknown": unknown})
    elif not as_json:
        for finding in findings:
            echo(str(finding))
        if not checked:
            echo("The entries are in memory of ours: there is nothing of them to read back before the device has them.")
        for one in unknown:
            echo(f"not described: {one}")
    return good


def open_store(name: str, store: Store) -> Driver:
    """The device with a driver over its described store."""
    from vfio_ims.stores import store_driver

    return store_driver(store).open(name)

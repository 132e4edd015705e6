# SPDX-License-Identifier: Apache-2.0
"""``vfio-ims selftest``: the bring-up engineer's first tool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from vfio_ims.cli import exits, stopping
from vfio_ims.cli.driver_folders import given_folders
from vfio_ims.cli.output import (
    answer,
    device_options,
    echo,
    json_option,
    print_json,
    print_lines,
    seconds,
    with_interface,
)
from vfio_ims.cli.progress import progress
from vfio_ims.cli.selftest_options import slots_option, store_option, timeout_option, words_option
from vfio_ims.errors import UsageError

if TYPE_CHECKING:
    from vfio_ims.driver import Driver
    from vfio_ims.registers import Store

__all__ = ["command"]


@click.command()
@device_options
@timeout_option
@click.option(
    "--settle", type=float, callback=seconds, help="Seconds after which nothing more comes; the mount's own by default."
)
@slots_option
@click.option("--no-reset", is_flag=True, help="Leave out the second round after a function reset.")
@words_option
@store_option
@click.option("--characterise", is_flag=True, help="Record what only silicon shows of the slots' control words.")
@click.option("--html", metavar="FILE", type=click.Path(dir_okay=False), help="A page of the results, with pictures.")
@json_option
def command(
    device: str,
    iommu: str | None,
    timeout: float,
    settle: float | None,
    slots: int | None,
    no_reset: bool,
    no_words: bool,
    description: str | None,
    characterise: bool,
    html: str | None,
    as_json: bool,
) -> int:
    """Opens DEVICE, which resets it; leaves it disabled, its slots masked and zero, bus mastering off.

    A ladder first, which stops at the first broken rung: the donor's descriptor, the device's own MSI-X, a slot that
    writes memory, a slot with a donor's message. Then every slot, on changing donors; masks; PASIDs; all again after a
    reset. "Not applicable" is said where the device has no such feature, and is not a pass. Ctrl-C and SIGTERM end it
    with a report of what ran until then.

    With --store: do entries keep what is written, are there so many, and what does FILE leave open? All the rest too,
    if it says which write fires a slot.
    """
    store = None
    if html is not None:
        from vfio_ims.html import ready

        ready(html)
    if description is not None:
        from vfio_ims.cli.selftest_store import check_store
        from vfio_ims.stores import read_store

        store = read_store(description)
        if not check_store(with_interface(device, iommu), store, as_json):
            return exits.FAILED
        if store.fire is None:
            if html is not None:
                echo(f"No page is written: {description} names no write that fires a slot.", err=True)
            return exits.OK
    from vfio_ims import selftest

    options = selftest.Options(timeout=timeout, settle=settle, slots=slots, reset=not no_reset, words=not no_words)
    stopped = False
    with (
        _driver(with_interface(device, iommu), store) as driver,
        progress("self-test", resets=not no_reset) as show_step,
    ):
        size = driver.ims_table().size
        if slots is not None and slots > size:
            why = f"--slots must be 1 to {size}, the size of its table, not {slots}"
            raise UsageError("set up a self-test", device=driver.label, why=why)
        learned = None
        try:
            report = selftest.run(driver, options=options, progress=show_step)
            learned = selftest.characterise(driver) if characterise else None
        except selftest.Interrupted as interrupted:
            report, stopped = interrupted.report, True
    content = {key: value for key, value in report.to_json().items() if key not in ("schema", "kind")}
    if learned is not None:
        content["characterisation"] = learned.to_json()
    if as_json:
        print_json("selftest", content)
    else:
        print_lines(str(report))
        if learned is not None:
            print_lines(str(learned))
    if html is not None:
        _write_page(content, html)
    if stopped:
        return stopping.status()
    return exits.OK if report.passed else exits.FAILED


def _write_page(content: dict[str, Any], where: str) -> None:
    from vfio_ims.html import write_page
    from vfio_ims.html.selftest import selftest_page

    write_page(selftest_page(answer("selftest", content)), where)
    echo(f"{where}: the results as a page", err=True)


def _driver(name: str, store: Store | None) -> Driver:
    import vfio_ims

    if store is None:
        from vfio_ims.families import not_under_test

        driver = vfio_ims.open_driver(name)
        problem = not_under_test(type(driver), name, given_folders())
        if problem is not None:
            driver.close()
            raise problem
        return driver
    from vfio_ims.cli.selftest_store import open_store

    return open_store(name, store)

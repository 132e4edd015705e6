# SPDX-License-Identifier: Apache-2.0
"""``vfio-ims selftest``: the bring-up engineer's first tool."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vfio_ims.cli import exits
from vfio_ims.cli.driver_folders import given_folders
from vfio_ims.cli.output import device_options, echo, json_option, print_json, progress, seconds, with_interface
from vfio_ims.errors import UsageError

if TYPE_CHECKING:
    from vfio_ims.driver import Driver
    from vfio_ims.registers import Store

__all__ = ["command"]


@click.command()
@device_options
@click.option(
    "--timeout",
    type=float,
    callback=seconds,
    default=1.0,
    show_default=True,
    help="Seconds until a fire whose owner was not woken is lost.",
)
@click.option(
    "--settle", type=float, callback=seconds, help="Seconds after which nothing more comes; the mount's own by default."
)
@click.option("--slots", type=click.IntRange(1), help="Only the first so many slots.")
@click.option("--no-reset", is_flag=True, help="Leave out the second round after a function reset.")
@click.option("--no-words", is_flag=True, help="Point no slot at memory: the device takes interrupt addresses only.")
@click.option(
    "--store",
    "description",
    metavar="FILE.toml",
    type=click.Path(exists=True, dir_okay=False),
    help="A device without a driver, whose message store FILE describes.",
)
@click.option("--characterise", is_flag=True, help="Record what only silicon shows of the slots' control words.")
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
    as_json: bool,
) -> int:
    """Opens DEVICE, which resets it; leaves it disabled, its slots masked and zero, bus mastering off.

    A ladder first, which stops at the first broken rung: the donor's descriptor, the device's own MSI-X, a slot that
    writes memory, a slot with a donor's message. Then every slot, on changing donors; masks; PASIDs; all again after a
    reset. "Not applicable" is said where the device has no such feature, and is not a pass.

    With --store: do entries keep what is written, are there so many, and what does FILE leave open? All the rest too,
    if it says which write fires a slot.
    """
    store = None
    if description is not None:
        from vfio_ims.cli.selftest_store import check_store
        from vfio_ims.stores import read_store

        store = read_store(description)
        if not check_store(with_interface(device, iommu), store, as_json):
            return exits.FAILED
        if store.fire is None:
            return exits.OK
    from vfio_ims import selftest

    options = selftest.Options(timeout=timeout, settle=settle, slots=slots, reset=not no_reset, words=not no_words)
    with _driver(with_interface(device, iommu), store) as driver, progress("self-test") as show_step:
        size = driver.ims_table().size
        if slots is not None and slots > size:
            why = f"--slots must be 1 to {size}, the size of its table, not {slots}"
            raise UsageError("set up a self-test", device=driver.label, why=why)
        report = selftest.run(driver, options=options, progress=lambda p: show_step(p.step, p.done, p.total))
        learned = selftest.characterise(driver) if characterise else None
    if as_json:
        content = {key: value for key, value in report.to_json().items() if key not in ("schema", "kind")}
        if learned is not None:
            content["characterisation"] = learned.to_json()
        print_json("selftest", content)
    else:
        echo(str(report))
        if learned is not None:
            echo(str(learned))
    return exits.OK if report.passed else exits.FAILED


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

# SPDX-License-Identifier: Apache-2.0
"""``vfio-ims prove``: one command that says whether this machine can use a device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vfio_ims.cli import exits, stopping
from vfio_ims.cli.output import (
    answer,
    device_options,
    echo,
    json_option,
    print_json,
    print_lines,
    with_interface,
)
from vfio_ims.cli.progress import progress
from vfio_ims.cli.selftest_options import slots_option, store_option, timeout_option, words_option

if TYPE_CHECKING:
    from vfio_ims.device import Device
    from vfio_ims.driver import Driver
    from vfio_ims.proof import Proof

__all__ = ["command"]


@click.command()
@device_options
@click.option("--group", is_flag=True, help="Also bind the other members of its IOMMU group that kernel drivers have.")
@click.option("--force", is_flag=True, help="Also when something uses the function.")
@timeout_option
@slots_option
@words_option
@store_option
@click.option("--state", type=click.Path(file_okay=False, path_type=Path), help="The journal's folder, as for bind.")
@click.option("--html", metavar="FILE", type=click.Path(dir_okay=False), help="A page of all of it, with pictures.")
@json_option
def command(
    device: str,
    iommu: str | None,
    group: bool,
    force: bool,
    timeout: float,
    slots: int | None,
    no_words: bool,
    description: str | None,
    state: Path | None,
    html: str | None,
    as_json: bool,
) -> int:
    """Doctor, bind, open, loopback, driver, own MSI-X, IMS self-test, DMA, reset, restore.

    Binds DEVICE to vfio-pci where it is not, which takes root, and puts back what was there, whatever fails and also
    after Ctrl-C or SIGTERM. Opening it resets it. Models need no binding.

    Exit status 0 when all passed; 1 when the device failed, or no slot was tested; 3 when the machine is not ready.
    """
    from vfio_ims.proof import ProofInterrupted, prove
    from vfio_ims.selftest import Options

    if html is not None:
        from vfio_ims.html import ready

        ready(html)
    stopped = False
    with progress("self-test") as show:
        try:
            proof = prove(
                with_interface(device, iommu),
                options=Options(timeout=timeout, slots=slots, words=not no_words),
                siblings=group,
                force=force,
                state=state,
                start=None if description is None else _store_driver(description),
                progress=show,
            )
        except ProofInterrupted as interrupted:
            proof, stopped = interrupted.proof, True
    if as_json:
        print_json("prove", proof.to_json())
    else:
        print_lines(str(proof))
    if html is not None:
        from vfio_ims.html import write_page
        from vfio_ims.html.proof import proof_page

        write_page(proof_page(answer("prove", proof.to_json())), html)
        echo(f"{html}: all of it as a page", err=True)
    return stopping.status() if stopped else _status(proof)


def _status(proof: Proof) -> int:
    if proof.verdict == "passed":
        return exits.OK
    return exits.NOT_READY if proof.host_not_ready else exits.FAILED


def _store_driver(description: str) -> Callable[[Device], Driver]:
    from vfio_ims.stores import read_store, store_driver

    return store_driver(read_store(description)).start_on

# SPDX-License-Identifier: Apache-2.0
"""Options of every verb that runs a self-test."""

from __future__ import annotations

import click

from vfio_ims.cli.output import seconds

__all__ = ["slots_option", "store_option", "timeout_option", "words_option"]

timeout_option = click.option(
    "--timeout",
    type=float,
    callback=seconds,
    default=1.0,
    show_default=True,
    help="Seconds until a fire whose owner was not woken is lost.",
)
slots_option = click.option("--slots", type=click.IntRange(1), help="Only the first so many slots.")
words_option = click.option(
    "--no-words", is_flag=True, help="Point no slot at memory: the device takes interrupt addresses only."
)
store_option = click.option(
    "--store",
    "description",
    metavar="FILE.toml",
    type=click.Path(exists=True, dir_okay=False),
    help="A device without a driver, whose message store FILE describes.",
)

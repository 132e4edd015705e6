# SPDX-License-Identifier: Apache-2.0
"""``--driver PATH``: private driver folders. It is understood before the verb and after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

__all__ = ["driver_option", "given_folders", "load_given", "verb_driver_option"]

_META = "vfio_ims.driver_folders"
_KIND: dict[str, Any] = {"multiple": True, "type": click.Path(exists=True, file_okay=False)}


def driver_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option before the verb, for ``load_given``."""
    return click.option("--driver", "folders", help="Load a private driver folder.", **_KIND)(command)


def verb_driver_option() -> click.Option:
    """The option after the verb. It loads its folders before the verb's own parameters are read."""
    return click.Option(
        ["--driver", "folders"],
        hidden=True,
        expose_value=False,
        is_eager=True,
        callback=lambda context, parameter, folders: load_given(folders),
        **_KIND,
    )


def load_given(folders: tuple[str, ...]) -> None:
    """Load the folders that the command line names."""
    if not folders:
        return
    from vfio_ims.families import load_folder

    for folder in folders:
        load_folder(folder)
    click.get_current_context().meta.setdefault(_META, []).extend(folders)


def given_folders() -> list[str]:
    """The folders that this command line names."""
    found: list[str] = click.get_current_context().meta.get(_META, [])
    return found

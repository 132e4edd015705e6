# SPDX-License-Identifier: Apache-2.0
"""The manual page that is shipped names every verb with all of its options, and none that there is not."""

from __future__ import annotations

import re
from pathlib import Path

import click

from vfio_ims.cli.main import cli

PAGE = Path(__file__).parents[2] / "docs/man/vfio-ims.1"


def has(command: click.Command, context: click.Context) -> dict[str, set[str]]:
    """The options that are shown, by the verb's path, those of its own verbs too."""
    shown = (one for one in command.params if isinstance(one, click.Option) and not one.hidden)
    found = {context.command_path: {name for one in shown for name in one.opts if name.startswith("--")}}
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            found |= has(inner, click.Context(inner, info_name=name, parent=context))
    return found


def says() -> dict[str, set[str]]:
    text = PAGE.read_text().replace("\\-", "-")
    first, *sections = re.split(r"^\.SS ", text, flags=re.MULTILINE)
    found = {"vfio-ims": options(first)}
    for section in sections:
        path = re.match(r'"?((?:[a-z-]+ )+)', section)
        assert path, section[:80]
        found[path[1].strip()] = options(section)
    return found


def options(section: str) -> set[str]:
    heads = re.findall(r"^\.TP\n\\fB(.*?)\\fR", section, flags=re.MULTILINE)
    return {name for head in heads for name in re.findall(r"--[a-z-]+", head)} - {"--help"}


def test_the_page_is_that_of_this_command_line() -> None:
    # With the settings: a verb keeps the help option that it was first asked for.
    context = click.Context(cli, info_name="vfio-ims", **cli.context_settings)
    expected = {path: names - {"--help"} for path, names in has(cli, context).items()}
    assert says() == expected, "out of date: .venv/bin/python .ci/man.py"

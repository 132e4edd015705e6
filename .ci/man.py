# SPDX-License-Identifier: Apache-2.0
"""Writes docs/man/vfio-ims.1, the manual page, from the command line itself: .venv/bin/python .ci/man.py"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click

from vfio_ims import __version__
from vfio_ims.cli.main import cli

PAGE = Path(__file__).resolve().parents[1] / "docs/man/vfio-ims.1"


def escaped(text: str) -> str:
    """Text of others, which roff takes for nothing else."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.MULTILINE)


def paragraphs(text: str) -> Iterator[str]:
    for part in text.split("\n\n"):
        lines = " ".join(part.replace("\b", "").split())
        if lines:
            yield f".PP\n{escaped(lines)}"


def options(command: click.Command, context: click.Context) -> Iterator[str]:
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context) if isinstance(parameter, click.Option) else None
        if record is not None and "--help" not in record[0]:
            yield f".TP\n\\fB{escaped(record[0])}\\fR\n{escaped(' '.join(record[1].split()))}"


def commands(command: click.Command, context: click.Context) -> Iterator[str]:
    """A section for each verb, its own verbs after it."""
    usage = " ".join(command.collect_usage_pieces(context))
    yield f'.SS "{escaped(context.command_path)} {escaped(usage)}"'
    yield from paragraphs(command.help or "")
    yield from options(command, context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from commands(found, click.Context(found, info_name=name, parent=context))


def page() -> str:
    context = click.Context(cli, info_name="vfio-ims", terminal_width=1000, max_content_width=1000)
    summary, _, rest = (cli.help or "").partition("\n\n")
    parts = [
        f'.TH VFIO\\-IMS 1 "" "vfio\\-ims {escaped(__version__)}" "User Commands"',
        f".SH NAME\nvfio\\-ims \\- {escaped(' '.join(summary.split()).rstrip('.'))}",
        ".SH SYNOPSIS\n\\fBvfio\\-ims\\fR [OPTIONS] COMMAND [ARGS]...",
        ".SH DESCRIPTION",
        *paragraphs(rest),
        ".SH OPTIONS",
        *options(cli, context),
        ".SH COMMANDS",
    ]
    for name in cli.list_commands(context):
        found = cli.get_command(context, name)
        assert found is not None
        parts += commands(found, click.Context(found, info_name=name, parent=context))
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page())

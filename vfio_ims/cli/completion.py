# SPDX-License-Identifier: Apache-2.0
"""``vfio-ims completion``: what a shell runs to complete our command lines."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from vfio_ims.cli import exits
from vfio_ims.cli.output import echo

__all__ = ["command"]


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(context: click.Context, shell: str) -> int:
    """Print the script for SHELL, which completes verbs, options, devices, and models with their options.

    bash, in ~/.bashrc: eval "$(vfio-ims completion bash)". zsh, in ~/.zshrc: eval "$(vfio-ims completion zsh)".
    fish, once: vfio-ims completion fish > ~/.config/fish/completions/vfio-ims.fish
    """
    from vfio_ims.cli.completing import register

    register()
    kind = get_completion_class(shell)
    assert kind is not None
    echo(kind(context.find_root().command, {}, "vfio-ims", "_VFIO_IMS_COMPLETE").source(), nl=False)
    return exits.OK

# SPDX-License-Identifier: Apache-2.0
"""What a shell completes: devices of this machine, models with their options, files after a mount's name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from click import Context, Parameter
from click.shell_completion import BashComplete, CompletionItem, add_completion_class, split_arg_string

if TYPE_CHECKING:
    from vfio_ims.models.options import Option

__all__ = ["complete_device", "complete_function", "complete_model", "register"]

_FILES = ("replay:", "vfio-user:", "report:")


def complete_device(context: Context, parameter: Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Everything that DEVICE may be: functions of this machine, models, and what is in a file."""
    return [
        *complete_function(context, parameter, incomplete),
        *(CompletionItem(word) for word in _models(incomplete, "mock:")),
        *(CompletionItem(word) for scheme in _FILES for word in _paths(scheme, incomplete)),
    ]


def complete_function(context: Context, parameter: Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Functions of this machine, by address; those that have kernel names by these, too."""
    from vfio_ims.host import Machine

    found = [name for function in Machine().functions() for name in (str(function.address), *function.names)]
    return [CompletionItem(name) for name in found if name.startswith(incomplete)]


def complete_model(context: Context, parameter: Parameter, incomplete: str) -> list[CompletionItem[str]]:
    """Models, as ``serve`` takes them."""
    return [CompletionItem(word) for word in _models(incomplete)]


def _models(incomplete: str, scheme: str = "") -> Iterator[str]:
    from vfio_ims.families import family_of_model, model_names

    head, *given = incomplete.split(",")
    if not given:
        yield from (name for model in model_names() if (name := scheme + model).startswith(incomplete))
        return
    name = head.removeprefix(scheme)
    if not head.startswith(scheme) or name not in model_names():
        return
    from vfio_ims.names import software_options

    options = software_options(family_of_model(name).load_model(name))
    yield from (",".join((head, *given[:-1], word)) for word in _option(options, given))


def _option(options: Mapping[str, Option], given: list[str]) -> Iterator[str]:
    """The last of ``given`` completed: a name with its "=", or a value where there are few."""
    *before, last = given
    key, equals, value = last.partition("=")
    if equals and key in options:
        option = options[key]
        values = ("yes", "no") if isinstance(option.default, bool) else option.choices
        yield from (f"{key}={choice}" for choice in values if choice.startswith(value))
        return
    used = {one.partition("=")[0] for one in before}
    yield from (f"{name}=" for name in options if name.startswith(last) and name not in used)


def _paths(scheme: str, incomplete: str) -> Iterator[str]:
    """``scheme`` itself, or files after it; folders end in a slash."""
    if not incomplete.startswith(scheme):
        if scheme.startswith(incomplete):
            yield scheme
        return
    folder, slash, start = incomplete.removeprefix(scheme).rpartition("/")
    try:
        entries = sorted(os.scandir(folder + slash or "."), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(start) and (start or not entry.name.startswith(".")):
            yield f"{scheme}{folder}{slash}{entry.name}{'/' if entry.is_dir() else ''}"


class Bash(BashComplete):
    """For names with colons, which bash takes for ends of words: the whole line is looked at, and replies are cut."""

    source_template = """\
%(complete_func)s() {
    local line=${COMP_LINE:0:COMP_POINT} current reply type value
    current=${line##*[[:space:]]}
    local seen=${current%%"${current##*[:=]}"}
    COMPREPLY=()
    while IFS=, read -r type value; do
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain)
                [[ $value == *[=/:] ]] && compopt -o nospace
                COMPREPLY+=("${value#"$seen"}") ;;
        esac
    done < <(env COMP_WORDS="$line" COMP_CWORD=0 %(complete_var)s=bash_complete "$1" 2>/dev/null)
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""

    @staticmethod
    def _check_version() -> None:
        """Not asked: the script is read by the shell that it is for."""

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ["COMP_WORDS"]
        words = split_arg_string(line)[1:]
        return (words, "") if line[-1:].isspace() or not words else (words[:-1], words[-1])


def register() -> None:
    """Have click complete for bash by ours."""
    add_completion_class(Bash)

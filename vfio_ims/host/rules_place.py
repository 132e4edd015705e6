# SPDX-License-Identifier: Apache-2.0
"""The rules on a machine: putting them in place, taking them away, and seeing whether they are and what they do."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vfio_ims.errors import SetupError
from vfio_ims.host.durable import refused, remove_file, replace_file
from vfio_ims.host.rules import GROUP, RULES_NAME, SYSUSERS_NAME, make_sysusers

if TYPE_CHECKING:
    from vfio_ims.host.machine import Machine

__all__ = ["Standing", "group_of", "install", "remove", "standing"]

TRIGGER = ("udevadm", "trigger", "--subsystem-match=vfio", "--subsystem-match=vfio-dev", "--subsystem-match=misc")
_PLACES = (
    "etc/udev/rules.d",
    "run/udev/rules.d",
    "usr/local/lib/udev/rules.d",
    "usr/lib/udev/rules.d",
    "lib/udev/rules.d",
)

OnAction = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Standing:
    """How the rules stand.

    Where they are (None: nowhere), whether they say what they should, whether the group exists and whether this user
    is in it (None: there is no group).
    """

    place: Path | None
    current: bool
    group: str
    group_exists: bool
    member: bool | None
    members_later: bool

    @property
    def good(self) -> bool:
        return self.place is not None and self.current and self.group_exists and bool(self.member)


def standing(machine: Machine, wanted: str, group: str = GROUP) -> Standing:
    """Look. ``wanted``: the text that the rules should have."""
    place = next((found for where in _PLACES if (found := machine.root / where / RULES_NAME).is_file()), None)
    text = None if place is None else machine.text("/" + str(place.relative_to(machine.root)))
    number, names = group_of(machine, group)
    user = machine.user
    member = None if number is None else user.uid == 0 or number in user.groups
    return Standing(
        place,
        text is not None and text.strip() == wanted.strip(),
        group,
        number is not None,
        member,
        user.name in names and not member,
    )


def group_of(machine: Machine, name: str) -> tuple[int | None, list[str]]:
    """Number and listed members of a group, from /etc/group."""
    for line in (machine.text("/etc/group") or "").splitlines():
        parts = line.split(":")
        if len(parts) == 4 and parts[0] == name and parts[2].isdecimal():
            return int(parts[2]), [member for member in parts[3].split(",") if member]
    if machine.live:
        import grp

        try:
            found = grp.getgrnam(name)
        except KeyError:
            return None, []
        return found.gr_gid, list(found.gr_mem)
    return None, []


def install(machine: Machine, text: str, group: str = GROUP, *, on_action: OnAction, dry_run: bool = False) -> None:
    """Write the rules and the sysusers file, make the group where it is missing, have udevd apply them."""
    for place, content in (
        (machine.etc / "udev/rules.d" / RULES_NAME, text),
        (machine.etc / "sysusers.d" / SYSUSERS_NAME, make_sysusers(group)),
    ):
        on_action(f"write {place}")
        if not dry_run:
            _write(place, content)
    if group_of(machine, group)[0] is None:
        maker = (
            ("systemd-sysusers", SYSUSERS_NAME) if shutil.which("systemd-sysusers") else ("groupadd", "--system", group)
        )
        _run(maker, on_action, dry_run)
    _apply(on_action, dry_run)


def remove(machine: Machine, group: str = GROUP, *, on_action: OnAction, dry_run: bool = False) -> bool:
    """Take both files away; False: there were none. The group stays: files may belong to it."""
    found = False
    for place in (machine.etc / "udev/rules.d" / RULES_NAME, machine.etc / "sysusers.d" / SYSUSERS_NAME):
        if place.exists():
            found = True
            on_action(f"remove {place}")
            if not dry_run:
                try:
                    remove_file(place)
                except OSError as error:
                    raise refused(error, f"remove {place}", place) from error
    if found:
        _apply(on_action, dry_run)
        on_action(f"the group {group} stays; nodes that exist keep their group until they are made anew")
    return found


def _write(place: Path, content: str) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        replace_file(place, content.encode())
    except OSError as error:
        raise refused(error, f"write {place}", place) from error


def _apply(on_action: OnAction, dry_run: bool) -> None:
    if shutil.which("udevadm") is None:
        on_action("no udevadm here: the rules are applied where udevd runs")
        return
    _run(("udevadm", "control", "--reload"), on_action, dry_run)
    _run(TRIGGER, on_action, dry_run)


def _run(command: Sequence[str], on_action: OnAction, dry_run: bool) -> None:
    on_action("run " + " ".join(command))
    if dry_run:
        return
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        why = done.stderr.strip() or f"exit status {done.returncode}"
        raise SetupError(f"run {' '.join(command)}", why=why, hint="run it by hand, then vfio-ims udev check")

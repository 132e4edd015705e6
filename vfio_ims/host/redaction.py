# SPDX-License-Identifier: Apache-2.0
"""Takes the user's name out of what a report says in words. What is data keeps its form, whatever the name is."""

from __future__ import annotations

import re
from typing import Any

from vfio_ims.host.rules import GROUP, RULES_NAME

__all__ = ["redact"]

_ADDRESS = r"[0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]"
_PUBLIC = frozenset({"", "root", "USER", GROUP})
_RELEASE, _RULES = "proc/sys/kernel/osrelease", f"etc/udev/rules.d/{RULES_NAME}"


def redact(content: dict[str, Any], user: str) -> None:
    """Write USER for ``user`` in a report's advice, evidence, names of processes and groups, and free text.

    Keys, numbers, addresses and what is read from sysfs stay: a user may be called ``text``, ``true`` or ``0000``.
    """
    if user in _PUBLIC:
        return
    pattern = re.compile(rf"({_ADDRESS})|(?<!\w){re.escape(user)}(?!\w)")

    def without(value: Any) -> Any:
        if isinstance(value, list):
            return [without(one) for one in value]
        return pattern.sub(lambda found: found[1] or "USER", value) if isinstance(value, str) else value

    def clean(table: dict[str, Any], *names: str) -> None:
        for name in names:
            if name in table:
                table[name] = without(table[name])

    clean(content["candidate"], "why", "next", "used_by")
    clean(content["versions"], "kernel")
    for result in content["doctor"]:
        clean(result, "evidence", "cause", "fix")
    clean(content["files"].get(_RELEASE, {}), "text")
    rules = content["files"].get(_RULES, {})
    if "text" in rules:  # OWNER="alice"; anything else in it is what the doctor compares
        rules["text"] = rules["text"].replace(f'="{user}"', '="USER"')
    for node in content["nodes"].values():
        clean(node, "group")
    for holders in content["holders"].values():
        for holder in holders:
            clean(holder, "name")

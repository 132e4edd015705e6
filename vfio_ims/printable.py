# SPDX-License-Identifier: Apache-2.0
"""Text of others (a process's name, a device's, a report's) made fit to be printed."""

__all__ = ["printable"]


def printable(text: str, keep: str = "") -> str:
    r"""``text`` with everything that a terminal obeys, or does not show, as an escape such as ``\x1b`` or ``\u202e``.

    ``keep`` names what stays all the same, such as the newlines of a text of several lines.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in keep else _escape(one) for one in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()

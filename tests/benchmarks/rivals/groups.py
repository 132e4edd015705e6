# SPDX-License-Identifier: Apache-2.0
"""All that is compared, in the page's order."""

from tests.benchmarks.rivals import completions, events, guest, registers, served, submission

__all__ = ["GROUPS"]

GROUPS = {
    "registers": registers.GROUP,
    "submission": submission.GROUP,
    "completions": completions.GROUP,
    "events": events.GROUP,
    "served": served.GROUP,
    "guest": guest.GROUP,
}
"""By the name that ``--only`` takes."""

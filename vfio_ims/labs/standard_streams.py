# SPDX-License-Identifier: Apache-2.0
"""Converters of a self-test's answer as commands: JSON on standard input, JSON on standard output."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["convert"]


def convert(parser: argparse.ArgumentParser, make: Callable[[Any], object]) -> None:
    """Print what ``make`` makes of standard input; what it is no answer for ends as wrong usage (status 2)."""
    try:
        made = make(json.load(sys.stdin))
    except (ValueError, KeyError, TypeError) as error:
        parser.error(f"standard input must be the answer of vfio-ims selftest --json: {error}")
    print(json.dumps(made, indent=1))

# SPDX-License-Identifier: Apache-2.0
"""Writes vfio_ims/cli/help-*.txt, what ``vfio-ims --help`` prints, as click formats it: .venv/bin/python .ci/help.py"""

from __future__ import annotations

import os
from pathlib import Path

from vfio_ims.cli.main import cli
from vfio_ims.cli.start import WIDTHS

FOLDER = Path(__file__).resolve().parents[1] / "vfio_ims/cli"


def formatted(columns: int) -> str:
    os.environ["COLUMNS"] = str(columns)
    return cli.make_context("vfio-ims", [], resilient_parsing=True).get_help() + "\n"


if __name__ == "__main__":
    for width in WIDTHS:
        (FOLDER / f"help-{width}.txt").write_text(formatted(width))

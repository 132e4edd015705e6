# SPDX-License-Identifier: Apache-2.0
"""The examples in this process, where ``--vfio-faults sweep`` meets their devices; ``test_swept.py`` takes a sample."""

from __future__ import annotations

import runpy
import sys
import warnings
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.vfio(model="intel-dsa")
@pytest.mark.parametrize("name", ["ims_interrupt.py", "async_interrupts.py", "dma_copy.py"])
def test_it_runs(name: str, vfio_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [name, vfio_name])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")

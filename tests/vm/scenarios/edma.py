# SPDX-License-Identifier: Apache-2.0
"""What Linux' dw-edma does with our models: its own probe, lists through the dmaengine API, every register it shows.

One step a call, by its name; prints what it found out as JSON. Standard library only.
"""

import json
import re
import sys
import time
from pathlib import Path
from typing import Any

CLIENT = Path("/sys/module/edma_client/parameters/run")
DEVICES = Path("/sys/bus/pci/devices")


def interrupts() -> dict[str, int]:
    """The engines' interrupts by function."""
    found: dict[str, int] = {}
    for line in Path("/proc/interrupts").read_text().splitlines():
        name = re.search(r"dw-edma-core:(\S+)$", line)
        if name:
            counts = sum(int(word) for word in line.split()[1:] if word.isdigit())
            address = re.search(r"(\w+:\w+:\w+\.\w)", line)
            where = address[1] if address else name[1]
            found[where] = found.get(where, 0) + counts
    return found


def probed(*addresses: str) -> dict[str, Any]:
    """Who drives each function, through which kind of interrupt, and how many channels it has."""
    found: dict[str, Any] = {}
    for address in addresses:
        function = DEVICES / address
        driver = (function / "driver").resolve().name if (function / "driver").exists() else ""
        kinds = {file.read_text().strip() for file in (function / "msi_irqs").glob("*")}
        found[address] = {"driver": driver, "kinds": sorted(kinds), "channels": len(list(function.glob("dma/*")))}
    return found


def jobs(*words: str) -> dict[str, Any]:
    """Run the client's jobs, given as FUNCTION/WAY/CHANNEL/KIND/COUNT/SIZE: what it says of each, and interrupts."""
    before, began, results = interrupts(), time.monotonic(), []
    for word in words:
        CLIENT.write_text(word.replace("/", " "))
        results.append(CLIENT.read_text().strip())
    after = interrupts()
    return {
        "results": dict(zip(words, results, strict=True)),
        "interrupts": {name: count - before.get(name, 0) for name, count in after.items()},
        "seconds": time.monotonic() - began,
    }


def registers(*addresses: str) -> dict[str, Any]:
    """Every register that dw-edma shows in debugfs, by function and file."""
    root = Path("/sys/kernel/debug/dmaengine")
    found: dict[str, Any] = {}
    for folder in root.iterdir():
        address = next((one for one in addresses if one in folder.name), None)
        if folder.is_dir() and address is not None:
            files = [file for file in folder.rglob("*") if file.is_file()]
            found[address] = {str(file.relative_to(folder)): file.read_text().strip() for file in files}
    return found


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))

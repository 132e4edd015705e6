# SPDX-License-Identifier: Apache-2.0
"""Has the kernel place a function's BARs at the beginnings of pages, without a boot: realign.py FUNCTION.

As docs/troubleshooting.md says it. Prints where BAR 0 was before and is after.
"""

import json
import subprocess
import sys
from pathlib import Path

PCI = Path("/sys/bus/pci")
name = sys.argv[1]
function = PCI / "devices" / name


def bar0() -> int:
    return int((function / "resource").read_text().split()[0], 16)


before = bar0()
(PCI / "resource_alignment").write_text(name)
(function / "remove").write_text("1")
(PCI / "rescan").write_text("1")
subprocess.run([sys.executable, "-m", "vfio_ims.cli.main", "bind", name], check=True, stdout=sys.stderr)
print(json.dumps({"before": before, "after": bar0()}))

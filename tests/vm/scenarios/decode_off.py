# SPDX-License-Identifier: Apache-2.0
"""Memory decoding goes off under a mapped BAR: an error, not a signal; it comes back with decoding. Prints JSON."""

from __future__ import annotations

import faulthandler
import json
import sys

import vfio_ims
from vfio_ims.errors import DeviceError


def main(name: str) -> None:
    faulthandler.enable()
    with vfio_ims.open(name) as device:
        device.config.memory = True
        bar = device.bar(0)
        before = bar.read32(0)
        device.config.memory = False
        failures = []
        for access in (lambda: bar.read32(0), lambda: bar.write32(0, 1), lambda: bar.read_block(0, 4)):
            try:
                access()
                failures.append("none")
            except DeviceError as error:
                failures.append(f"{type(error).__name__}: {error}")
        device.config.memory = True
        print(json.dumps({"mapped": bar.mapped(0, 4), "failures": failures, "same": bar.read32(0) == before}))


if __name__ == "__main__":
    main(sys.argv[1])

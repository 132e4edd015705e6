# SPDX-License-Identifier: Apache-2.0
"""A function that another process has open, by either interface, is refused to this one by both."""

import json
import os
import sys

import vfio_ims
from vfio_ims.errors import DeviceBusy

facts: dict[str, object] = {}
for held in ("type1", "iommufd"):
    ready, announce = os.pipe()
    free, done = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(done)
        with vfio_ims.open_driver(f"{sys.argv[1]},iommu={held}"):
            os.write(announce, b"x")
            os.read(free, 1)
        os._exit(0)
    assert os.read(ready, 1)
    for asked in ("type1", "iommufd"):
        try:
            vfio_ims.open(f"{sys.argv[1]},iommu={asked}").close()
        except DeviceBusy as error:
            facts[f"{asked} while {held} has it"] = [str(child) in str(error), str(error)]
    os.close(done)
    assert os.waitpid(child, 0)[1] == 0
json.dump(facts, sys.stdout)

# SPDX-License-Identifier: Apache-2.0
"""Driver, override and number of virtual functions of every function, as JSON."""

from __future__ import annotations

import json

from vfio_ims.host import Machine
from vfio_ims.host.binding import Binding

if __name__ == "__main__":
    print(json.dumps({str(one): str(Binding.of(one)) for one in Machine().functions()}))

# SPDX-License-Identifier: Apache-2.0
"""Run vfio-ims as nobody. Arguments: names of groups with commas between ("" for none), then those of vfio-ims."""

from __future__ import annotations

import grp
import os
import sys

from vfio_ims.cli.main import main
from vfio_ims.host import Machine

NOBODY = 65534

if __name__ == "__main__":
    groups = [grp.getgrnam(name).gr_gid for name in sys.argv[1].split(",") if name]
    Machine().user  # noqa: B018 - what reads the user database is loaded while it may be
    os.setgroups(groups)
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    main(sys.argv[2:])

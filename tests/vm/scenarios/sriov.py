# SPDX-License-Identifier: Apache-2.0
"""Virtual functions of a physical function on VFIO are opened with its token. Argument: its address. Prints JSON."""

from __future__ import annotations

import json
import sys
from uuid import uuid4

import vfio_ims
from vfio_ims.errors import VfioImsError
from vfio_ims.host import Binder, Machine
from vfio_ims.host.binding import Binding
from vfio_ims.host.writer import Writer


def attempt(name: str) -> str:
    try:
        with vfio_ims.open(name) as device:
            return f"opened by {device.mount}"
    except VfioImsError as error:
        return f"{type(error).__name__}: {error}"


def main(parent: str) -> None:
    machine = Machine()
    function = machine.function(parent)
    assert function is not None
    before = str(Binding.of(function))
    binder = Binder(machine)
    binder.carry_out(binder.plan_bind([function]))
    Writer(machine).write(f"bus/pci/devices/{parent}/sriov_numvfs", "2", parent)
    virtual = [one for one in machine.functions() if str(one.physical_function) == parent]
    found: dict[str, object] = {"virtual": [f"{one.driver} {one.driver_override}" for one in virtual]}
    token, child = str(uuid4()), str(virtual[0])
    for interface in ("type1", "iommufd"):
        with vfio_ims.open(f"{parent},iommu={interface},vf_token={token}"):
            tried = {
                "same": f"{child},iommu={interface},vf_token={token}",
                "other": f"{child},iommu={interface},vf_token={uuid4()}",
                "none": f"{child},iommu={interface}",
                "auto": f"{child},vf_token={token}",
            }
            found[interface] = {what: attempt(name) for what, name in tried.items()}
    found["nonsense"] = attempt(f"{child},vf_token=hello")
    found["restored"] = [one.text for one in binder.restore()]
    found["as_before"] = str(Binding.of(function)) == before
    found["left"] = sum(str(one.physical_function) == parent for one in machine.functions())
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])

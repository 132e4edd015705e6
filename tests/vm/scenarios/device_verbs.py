# SPDX-License-Identifier: Apache-2.0
"""Resets, power, CPUs of vectors and reported errors on a real kernel: device_verbs.py FOLDER NIC LEGACY EDU

NIC shares its slot behind a port with another function; LEGACY is the model of tests/interrupts; EDU sits on the root
bus. What is found out is printed; FOLDER is where the test outside is asked for an error of NIC.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import vfio_ims
from vfio_ims.device import ReportedError
from vfio_ims.errors import VfioImsError
from vfio_ims.host import RemovalWatch
from vfio_ims.pci.capabilities import PowerState
from vfio_ims.ports.values import ResetMethod

TIMEOUT = 30.0
KEEPS = 0x0170  # a register of the e1000e that keeps what is written: FCTTV (82574 datasheet, 10.2.2)
folder, nic, legacy, edu = sys.argv[1:]


def refusal(call: Any, *arguments: Any) -> str:
    try:
        call(*arguments)
    except VfioImsError as error:
        return f"{type(error).__name__}: {error}"
    return "done"


def resets(name: str) -> dict[str, Any]:
    """Each way to reset the model, by a register that keeps what is written."""
    found: dict[str, Any] = {}
    with vfio_ims.open(name) as device:
        device.config.memory = True
        bar = device.bar(0)
        methods = device.reset_methods()
        found["methods"] = [method.name for method in methods]
        found["hot"] = refusal(device.reset, ResetMethod.HOT)
        for method in methods:
            bar.write32(0x10, 7)
            before = bar.read32(0x10)
            device.reset(method)
            device.config.memory = True
            found[method.name] = [before, bar.read32(0x10), bar.read32(0)]
    return found


def hot_reset(name: str) -> dict[str, Any]:
    with vfio_ims.open(name) as device:
        device.config.memory = device.config.bus_master = True
        vector = device.interrupts.open_msix(0)
        message = device.interrupts.msix.message(0)
        bar = device.bar(0)
        bar.write32(KEEPS, 0x1234)
        before = bar.read32(KEEPS)
        scope = device.hot_reset_scope()
        device.reset(ResetMethod.HOT)
        found = {
            "scope": [[one.address, one.owned] for one in scope],
            "register": [before, bar.read32(KEEPS)],
            "memory": device.config.memory,
            "message kept": device.interrupts.msix.message(0) == message,
        }
        vector.trigger()
        found["arrives"] = vector.wait(TIMEOUT)
        return found


def power(name: str) -> dict[str, Any]:
    with vfio_ims.open(name) as device:
        device.config.memory = True
        bar = device.bar(0)
        before = bar.read32(0)
        device.power_state = PowerState.D3HOT
        found: dict[str, Any] = {"state": device.power_state.name, "asleep": refusal(bar.read32, 0)}
        device.power_state = PowerState.D0
        found["awake"] = bar.read32(0) == before
        found["D1"] = refusal(setattr, device, "power_state", PowerState.D1)
        with device.low_power():
            found["twice"] = refusal(device.low_power)
        with device.low_power(wakeup=True) as low:
            found["woken early"] = low.wait(0)
        found["after"] = bar.read32(0) == before
        return found


def cpus(name: str) -> dict[str, Any]:
    """A vector goes to the other CPU, with its next interrupt."""
    with vfio_ims.open(name) as device:
        device.config.memory = device.config.bus_master = True
        (vector,) = device.interrupts.open_msi(1)
        before = vector.affinity()
        target = min(before.allowed - before.effective)
        vector.set_affinity({target})
        deadline = time.monotonic() + TIMEOUT
        while vector.affinity().effective != {target} and time.monotonic() < deadline:
            device.bar(0).write32(0x08, 0)  # the model's RAISE
            assert vector.wait(TIMEOUT)
        after = vector.affinity()
        return {
            "before": sorted(before.allowed),
            "moved": after.effective == {target} and after.allowed == {target},
            "offline": refusal(vector.set_affinity, {99}),
        }


def errors(name: str, interface: str) -> dict[str, Any]:
    seen: list[ReportedError] = []
    with vfio_ims.open(name) as device:
        device.config.memory = device.config.bus_master = True
        with RemovalWatch(device, on_error=seen.append):
            (Path(folder) / f"armed-{interface}").touch()
            deadline = time.monotonic() + TIMEOUT
            while not seen and time.monotonic() < deadline:
                time.sleep(0.05)
        report = seen[0].report if seen else None
        return {
            "said": str(seen[0]) if seen else "nothing came",
            "counted": dict(report.counted) if report else {},
            "header": list(report.header) if report else [],
        }


def on_root_bus(name: str) -> dict[str, Any]:
    with vfio_ims.open(name) as device:
        return {"methods": [method.name for method in device.reset_methods()], "hot": refusal(device.hot_reset_scope)}


def each(what: Any, name: str, *more: Any) -> dict[str, Any]:
    found = {}
    for interface in ("type1", "iommufd"):
        arguments = [interface] if more else []
        found[interface] = what(f"{name},iommu={interface}", *arguments)
    return found


json.dump(
    {
        "resets": each(resets, legacy),
        "hot reset": each(hot_reset, nic),
        "power": each(power, legacy),
        "cpus": each(cpus, legacy),
        "root bus": each(on_root_bus, edu),
        "errors": each(errors, nic, True),
    },
    sys.stdout,
)

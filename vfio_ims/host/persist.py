# SPDX-License-Identifier: Apache-2.0
"""A udev rule that gives one function to a VFIO driver at every boot and hotplug."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from vfio_ims.host.durable import refused, remove_file, replace_file
from vfio_ims.host.udev import udev_running
from vfio_ims.pci import PciAddress

if TYPE_CHECKING:
    from vfio_ims.host.machine import Machine
    from vfio_ims.sysfs import Function

__all__ = ["forget", "persist", "persistent", "rule_for", "rule_path"]


def rule_path(machine: Machine, address: PciAddress | str) -> Path:
    """Where the rule of this function is kept."""
    return machine.etc / f"udev/rules.d/60-vfio-ims-bind-{address}.rules"


def rule_for(function: Function, driver: str) -> str:
    """The rule's text. It names the ids too, so that another device at that address is left alone.

    The override is set before 80-drivers.rules loads the function's own driver. Where that has it already (built in,
    or loaded from the initramfs), the shell line moves it. It looks again: a driver that the kernel has chosen, and not
    bound yet, is in no file of sysfs (really_probe() in drivers/base/dd.c), and keeps the device from being probed.
    """
    name = function.address
    return (
        f"# Made by: vfio-ims bind {name} --persist\n"
        f"# At every boot and hotplug {name} ({function.id}) goes to {driver}. Removed by: vfio-ims restore {name}\n"
        f'ACTION=="add", SUBSYSTEM=="pci", KERNEL=="{name}", ATTR{{vendor}}=="{function.vendor:#06x}",'
        f' ATTR{{device}}=="{function.device:#06x}", ATTR{{driver_override}}="{driver}",'
        f' RUN{{builtin}}+="kmod load {driver}",'
        " RUN+=\"/bin/sh -c 'cd /sys/bus/pci; for n in 1 2 3 4 5; do"
        f" test -e drivers/{driver}/%k && break; test ! -e devices/%k/driver || echo %k >devices/%k/driver/unbind;"
        f" echo %k >drivers_probe; test -e drivers/{driver}/%k || sleep 0.2; done'\"\n"
    )


def persist(machine: Machine, function: Function, driver: str) -> Path:
    """Write the rule, have udevd read it, and return where it is. Raises AccessDenied or SetupError."""
    place = rule_path(machine, function.address)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        replace_file(place, rule_for(function, driver).encode())  # by way of a name that udevd does not read
    except OSError as error:
        raise refused(error, f"write {place}", place, str(function)) from error
    _reload(machine)
    return place


def forget(machine: Machine, address: PciAddress | str) -> Path | None:
    """Remove the function's rule; returns where it was, or None: there was none. Raises AccessDenied or SetupError."""
    place = rule_path(machine, address)
    try:
        if not remove_file(place):
            return None
    except OSError as error:
        raise refused(error, f"remove {place}", place, str(address)) from error
    _reload(machine)
    return place


def _reload(machine: Machine) -> None:
    """Have udevd read the rules now: by itself it looks only every few seconds.

    Where it does not run, the next boot reads the rule.
    """
    if machine.live and udev_running():
        with suppress(OSError):
            subprocess.run(("udevadm", "control", "--reload"), capture_output=True, check=False)


def persistent(machine: Machine) -> list[str]:
    """The functions that have such a rule."""
    rules = (machine.etc / "udev/rules.d").glob("60-vfio-ims-bind-*.rules")
    names = sorted(place.name.removeprefix("60-vfio-ims-bind-").removesuffix(".rules") for place in rules)
    return [name for name in names if PciAddress.looks_like(name)]

# SPDX-License-Identifier: Apache-2.0
"""The CPUs of a function's vectors, through /proc/irq: anyone may read them, and root may change them.

Facts: the kernel's kernel/irq/proc.c (write_irq_affinity, irq_can_set_affinity_usr).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection
from pathlib import Path

from vfio_ims.backends.kernel.access import translate_errno
from vfio_ims.errors import AccessDenied, DeviceError, UnsupportedError, UsageError, VfioImsError
from vfio_ims.ports.values import Affinity, IrqIndex
from vfio_ims.sysfs import Function
from vfio_ims.sysfs.affinity import PROC, format_cpus, read_cpus, vfio_irq

__all__ = ["read_affinity", "write_affinity"]


def _number(function: Function, index: int, vector: int, operation: str, proc: Path) -> int:
    """The Linux interrupt behind a vector. Raises UsageError where the vector has no handler."""
    name = str(function.address)
    if index not in (IrqIndex.INTX, IrqIndex.MSI, IrqIndex.MSIX):
        why = "only INTx, MSI and MSI-X are interrupts of a CPU"
        raise UnsupportedError(operation, device=name, why=why)
    kind = IrqIndex(index).name.lower()
    action = f"vfio-{kind}({name})" if index == IrqIndex.INTX else f"vfio-{kind}[{vector}]({name})"
    number = vfio_irq(function, action, proc)
    if number is None:
        why = f"the kernel lists no interrupt {action}: the vector is not attached, or {proc}/irq is not shown here"
        raise UsageError(operation, device=name, why=why, hint="attach an event to the vector first")
    return number


def read_affinity(function: Function, index: int, vector: int, proc: Path = PROC) -> Affinity:
    """The CPUs that may take an attached vector, and those that do."""
    operation = f"read the CPUs of vector {vector}"
    number = _number(function, index, vector, operation, proc)
    allowed = read_cpus(number, "smp_affinity_list", proc)
    if allowed is None:
        why = f"{proc}/irq/{number}/smp_affinity_list cannot be read"
        raise UnsupportedError(operation, device=str(function.address), why=why, hint="the kernel needs CONFIG_SMP")
    effective = read_cpus(number, "effective_affinity_list", proc)
    return Affinity(allowed, allowed if effective is None else effective)


def write_affinity(function: Function, index: int, vector: int, cpus: Collection[int], proc: Path = PROC) -> None:
    """Let only ``cpus`` take an attached vector. Raises AccessDenied where the user may not."""
    operation = f"move vector {vector} to CPU {format_cpus(cpus)}"
    number = _number(function, index, vector, operation, proc)
    path = proc / "irq" / str(number) / "smp_affinity_list"

    def refused(code: int) -> VfioImsError:
        return _refused(code, operation, str(function.address), path, cpus)

    with translate_errno(refused):
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, format_cpus(cpus).encode())
        finally:
            os.close(descriptor)


def _refused(code: int, operation: str, name: str, path: Path, cpus: Collection[int]) -> VfioImsError:
    if code in (errno.EACCES, errno.EPERM, errno.EROFS):
        why = f"only root may write {path}" if code != errno.EROFS else f"{path} is mounted read-only"
        hint = f"echo {format_cpus(cpus)} | sudo tee {path}; irqbalance may move it again"
        return AccessDenied(operation, device=name, why=why, hint=hint, errno=code)
    if code in (errno.EINVAL, errno.EOVERFLOW, errno.ERANGE):
        why = "none of these CPUs is online"
        return UsageError(operation, device=name, why=why, hint="cat /sys/devices/system/cpu/online", errno=code)
    if code == errno.EIO:
        why = "the kernel manages this interrupt's CPUs itself, or its chip cannot move it"
        return UnsupportedError(operation, device=name, why=why, hint="dmesg | grep -i irqaffinity", errno=code)
    if code == errno.EBUSY:
        why = "the CPUs have no interrupt vectors left, or the last move is not done: it is with its next interrupt"
        return DeviceError(operation, device=name, why=why, hint="try again after an interrupt", errno=code)
    return DeviceError(operation, device=name, errno=code)

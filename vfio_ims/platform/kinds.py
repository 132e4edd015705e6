# SPDX-License-Identifier: Apache-2.0
"""The kinds of host that the platform can be, by the name of its option: which messages it takes, and how."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass

from vfio_ims.errors import explain_unknown
from vfio_ims.platform.amd import AmdRemapping
from vfio_ims.platform.controller import Controller
from vfio_ims.platform.cpu_vectors import CpuVectors
from vfio_ims.platform.gicv2m import GicV2m
from vfio_ims.platform.its import GicIts
from vfio_ims.platform.refusals import refusal
from vfio_ims.platform.vtd import VtdRemapping

__all__ = ["KINDS", "Kind", "find_kind"]


@dataclass(frozen=True, slots=True)
class Kind:
    """``make``: the controller, given the entries of a table (None: as in the hardware) and the number of CPUs."""

    name: str
    doc: str
    make: Callable[[int | None, int], Controller]
    x86: bool = True
    dynamic_msix: bool = True
    """Whether Linux can add MSI-X vectors one at a time here."""


def _vtd(entries: int | None, cpus: int) -> Controller:
    return VtdRemapping(entries or 1 << 16)


def _vtd_shv0(entries: int | None, cpus: int) -> Controller:
    return VtdRemapping(entries or 1 << 16, subhandles=False)


def _amd(entries: int | None, cpus: int) -> Controller:
    return AmdRemapping(entries or 512)


def _compatibility(entries: int | None, cpus: int) -> Controller:
    return CpuVectors(cpus)


def _its_smmu(entries: int | None, cpus: int) -> Controller:
    return GicIts(entries or 2048, smmu=True)


def _its(entries: int | None, cpus: int) -> Controller:
    return GicIts(entries or 2048, smmu=False)


def _gicv2m(entries: int | None, cpus: int) -> Controller:
    return GicV2m(entries or 64)


KINDS = {
    kind.name: kind
    for kind in (
        Kind("vtd", "Intel VT-d: the address names an entry of one table, the data a subhandle", _vtd),
        Kind("vtd-shv0", "VT-d without subhandles: the address alone names the entry", _vtd_shv0),
        Kind("amd", "AMD-Vi: one address, the data is the index into the function's own table", _amd),
        Kind("compatibility", "x86 without remapping: the address names the CPU, the data its vector", _compatibility),
        Kind("its-smmu", "Arm GICv3 ITS behind an SMMU: an address in a reserved window, event ids", _its_smmu, False),
        Kind("its", "Arm GICv3 ITS: its doorbell's own address, event ids", _its, False),
        Kind("gicv2m", "Arm GICv2m: the frame's doorbell, numbers of SPIs", _gicv2m, False, dynamic_msix=False),
    )
}


def find_kind(name: str, remapping: bool = True) -> Kind:
    """The kind called ``name``; with ``remapping`` off, what x86 is then. UsageError where there is no such kind."""
    kind = KINDS.get(name)
    if kind is None:
        why = explain_unknown("platform", name, KINDS)
    elif remapping:
        return kind
    elif kind.x86:
        return KINDS["compatibility"]
    else:
        why = f"{name} has no interrupt remapping to be turned off"
    raise refusal(errno.EINVAL, "make a platform", why=why)

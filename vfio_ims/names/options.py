# SPDX-License-Identifier: Apache-2.0
"""What may follow a device's name after commas, for each mount."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from vfio_ims.models.options import Option, parse_options

if TYPE_CHECKING:
    from vfio_ims.models import DeviceModel
    from vfio_ims.models.options import Value

PLATFORM = {
    "platform": Option("vtd", "which messages the host takes: platform.KINDS has the names"),
    "merge": Option("always", "whether interrupts in flight on one vector merge", ("always", "random", "never")),
    "remapping": Option(True, "whether the platform remaps interrupts; no: the same as platform=compatibility"),
    "dynamic": Option(True, "whether MSI-X vectors can be added one at a time"),
    "mappable": Option(True, "whether the MSI-X table can be mapped"),
    "page": Option("own", "the host's pages, if larger than this machine's own", ("own", "16k", "64k")),
    "bdf": Option("", "where the function sits; bus 0 is the root, which has no bus reset, as in bdf=01:00.0"),
    "config": Option(True, "whether the kernel's own view of config space is at hand, as from a descriptor of root's"),
    "seed": Option(0, "for random merging; 0: a new one each time"),
}
PAGES = {"16k": 16 << 10, "64k": 64 << 10}
"""Bytes of a page, by the option's word."""
DONORS = Option("auto", "which vectors slots copy; auto: MSI where there is no MSI-X", ("auto", "msix", "msi"))
PLATFORM["donors"] = DONORS
PLATFORM_OPTIONS = frozenset({*PLATFORM, "fault"})
"""The options of a name that are the host's, not the model's."""
KERNEL = {
    "config": Option(-1, "a descriptor of the function's config in sysfs that root opened, for donors from MSI"),
    "donors": DONORS,
    "iommu": Option("auto", "which of VFIO's interfaces", ("auto", "type1", "iommufd", "none")),
    "vf_token": Option("", "a UUID that a physical function and its virtual functions on VFIO must share"),
}
_ORDERS = ("strict", "thread", "register")
REPLAY = {
    "order": Option("strict", "calls in the order of then, or of each thread, or of each register", _ORDERS),
    "ignore": Option("", "registers, joined by +, to which other values may be written: counters, addresses"),
}


def parsed_options(known: Mapping[str, Option], given: Mapping[str, str]) -> dict[str, Value]:
    """The values of ``given``, defaults for the rest.

    Raises UsageError for an option or a value that is not ``known``.
    """
    return parse_options(known, {key: value or "yes" for key, value in given.items()})


def software_options(model: type[DeviceModel]) -> dict[str, Option]:
    """What may follow the name of this model after commas: its own options, and the platform's."""
    return {**model.common_options, **model.options, **PLATFORM}

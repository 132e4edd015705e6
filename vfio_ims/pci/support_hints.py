# SPDX-License-Identifier: Apache-2.0
"""Whether config space hints at IMS and at PASIDs: yes, no or unknown, with the evidence.

A hint: the device's own registers, which its driver reads, decide.
"""

from vfio_ims.counted import counted
from vfio_ims.pci.capabilities import Capabilities, SiovDvsec
from vfio_ims.ports.evidence import Evidence

__all__ = ["ims_hint", "pasid_hint"]

_AS_ROOT = "all 4096 bytes of config space: read the sysfs config file as root"


def _unread(capabilities: Capabilities) -> str | None:
    """Why the extended list cannot be relied on to be whole, or None."""
    config = capabilities.config
    if config.absent:
        return "the function does not answer: its vendor id reads as all ones"
    if not config.standard_readable:
        return f"only {counted(len(config), 'byte')} of config space could be read ({config.source})"
    if capabilities.extended_unread:
        read = f"only {counted(len(config), 'byte')} of config space could be read ({config.source})"
        return f"{read}: no extended capabilities"
    if not capabilities.complete and not capabilities.source.hides:
        return f"the capability list is damaged: {capabilities.diagnoses[0]}"
    return None


def ims_hint(capabilities: Capabilities) -> Evidence:
    """Whether Intel's SIOV DVSEC says IMS: yes, no (or not there), or unknown, with what would show it."""
    found = capabilities.find_all(SiovDvsec)
    if found:
        dvsec = next((one for one in found if one.ims), found[0])
        where = f"Intel SIOV DVSEC at {dvsec.offset:#x} ({dvsec.source})"
        if dvsec.ims is None:
            why = f"{where} has {counted(dvsec.size, 'byte')} and ends before its IMS bit"
            return Evidence(None, why, "the device's own registers, by its driver")
        return Evidence(dvsec.ims, f"{where}: IMS bit {'set' if dvsec.ims else 'clear'}")
    unread = _unread(capabilities)
    if unread is not None:
        return Evidence(None, unread, _AS_ROOT)
    others = len(capabilities.dvsecs)
    if capabilities.source.hides and not others:
        # DVSECs are seen through VFIO on Linux 7.3; older kernels left out what their table had no length for.
        return Evidence(None, "VFIO lists no DVSEC, and not every kernel lets them through", _AS_ROOT)
    text = f"none of its {others} DVSECs is Intel's for SIOV" if others else "there is no DVSEC that could have one"
    return Evidence(False, f"{text} (read from {capabilities.source})")


def pasid_hint(capabilities: Capabilities) -> Evidence:
    """Whether the function can tag requests with PASIDs."""
    pasid = capabilities.pasid
    if pasid is not None:
        state = "enabled" if pasid.enabled else "not enabled"
        return Evidence(True, f"PASID capability at {pasid.offset:#x}: {pasid.width} bits, {state} ({pasid.source})")
    unread = _unread(capabilities)
    if unread is not None:
        return Evidence(None, unread, _AS_ROOT)
    if capabilities.source.hides:
        return Evidence(None, "VFIO hides the PASID capability", _AS_ROOT)
    return Evidence(False, f"no PASID capability ({capabilities.source})")

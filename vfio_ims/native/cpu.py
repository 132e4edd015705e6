# SPDX-License-Identifier: Apache-2.0
"""What this CPU can do for portals."""

from vfio_ims.native.lib import native

__all__ = ["has_store64"]


def has_store64() -> bool:
    """Whether a 64-byte store is one write here: by MOVDIR64B on x86, by ST64B on arm64.

    The processor's word (CPUID; the kernel's AT_HWCAP3). On arm64 the device has to take such a store, too: where
    it does not, the store raises SIGBUS.
    """
    return bool(native().lib.cpu_has_store64())

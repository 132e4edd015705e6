# SPDX-License-Identifier: Apache-2.0
"""What this CPU can do for portals."""

from vfio_ims.native.lib import native

__all__ = ["has_movdir64b"]


def has_movdir64b() -> bool:
    """Whether a 64-byte store is one write here (x86 CPUID leaf 7, ECX bit 28)."""
    return bool(native().lib.cpu_has_movdir64b())

# SPDX-License-Identifier: Apache-2.0
"""DSA and IAA in software. ``device`` wires the parts; ``state`` is what they share."""

from .device import DsaModel, IaaModel, IdxdModel

__all__ = ["DsaModel", "IaaModel", "IdxdModel"]

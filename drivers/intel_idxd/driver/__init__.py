# SPDX-License-Identifier: Apache-2.0
"""The drivers of DSA and IAA."""

from .idxd import Dsa, Iaa, Idxd

__all__ = ["Dsa", "Iaa", "Idxd"]

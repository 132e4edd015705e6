# SPDX-License-Identifier: Apache-2.0
"""The models: DLB 2.5 and 2.0 as physical functions."""

from .device import Dlb20Model, DlbModel

__all__ = ["Dlb20Model", "DlbModel"]

# SPDX-License-Identifier: Apache-2.0
"""The engine in software."""

from .device import EdmaModel, HdmaModel

__all__ = ["EdmaModel", "HdmaModel"]

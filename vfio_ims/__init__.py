# SPDX-License-Identifier: Apache-2.0
"""A userspace VFIO driver kit for PCIe functions with an Interrupt Message Store (IMS)."""

__version__ = "0.1.0"

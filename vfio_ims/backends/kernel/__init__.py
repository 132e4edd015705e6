# SPDX-License-Identifier: Apache-2.0
"""Devices behind the kernel's VFIO: by group and type1 container, or by cdev and iommufd."""

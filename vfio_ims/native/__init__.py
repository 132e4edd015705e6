# SPDX-License-Identifier: Apache-2.0
"""The compiled layer: VFIO's and iommufd's ioctls, mapped windows, events, shared memory.

Nothing compiled is loaded until it is used.
"""

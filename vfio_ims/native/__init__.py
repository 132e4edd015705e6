# SPDX-License-Identifier: Apache-2.0
"""The compiled layer: VFIO and iommufd requests, mapped windows, events, shared memory. Loads nothing until it is used."""

# SPDX-License-Identifier: Apache-2.0
"""A folder for a new family of devices, and its registers from a SystemRDL description: what `vfio-ims new` writes."""

# SPDX-License-Identifier: Apache-2.0
"""What implements the ports: the kernel's VFIO, and the software platform."""

# SPDX-License-Identifier: Apache-2.0
"""Devices on the software platform: a model in this process, or behind a vfio-user socket."""

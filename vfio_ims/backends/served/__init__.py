# SPDX-License-Identifier: Apache-2.0
"""A function that another process has opened and serves over vfio-user: VFIO's verbs, passed on to it."""

# SPDX-License-Identifier: Apache-2.0
"""Testing with devices: the pytest plug-in, helpers for tests, and the conformance suite for drivers' authors.

The plug-in gives the fixtures ``vfio_device`` and ``ims_driver``, the marker ``vfio``, and ``--vfio-device NAME``.
"""

from vfio_ims.testing.leaks import Held, held
from vfio_ims.testing.silence import silent

__all__ = ["Held", "held", "silent"]

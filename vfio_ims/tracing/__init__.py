# SPDX-License-Identifier: Apache-2.0
"""Recordings of what is done with a device: written, read and replayed.

A recorder stands before ports, windows and address spaces, so that nothing else knows; off, it costs nothing.
"""

from vfio_ims.tracing.attach import Trace, trace, trace_opened
from vfio_ims.tracing.format import Recording, read_recording
from vfio_ims.tracing.reading import read_any

__all__ = ["Recording", "Trace", "read_any", "read_recording", "trace", "trace_opened"]

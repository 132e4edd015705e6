# SPDX-License-Identifier: Apache-2.0
"""For jumpstarter: drivers of an exporter, and the client of both (entry points ``jumpstarter.drivers``)."""

from importlib.util import find_spec

if find_spec("jumpstarter") is None:
    raise ImportError("jumpstarter is not installed: pip install 'vfio-ims[jumpstarter]'")

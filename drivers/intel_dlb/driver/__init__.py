# SPDX-License-Identifier: Apache-2.0
"""The driver of a DLB's physical function."""

from ..hardware.elements import Element, Kind
from .alarms import Alarm
from .dlb import Dlb
from .domain import Domain
from .elements import Elements
from .ldb_port import LdbPort
from .ports import DirectedPort, Port
from .queues import Queue

__all__ = ["Alarm", "DirectedPort", "Dlb", "Domain", "Element", "Elements", "Kind", "LdbPort", "Port", "Queue"]

# SPDX-License-Identifier: Apache-2.0
"""The driver of the engine."""

from .channel import Channel
from .edma import Edma
from .transfer import Transfer, TransferAborted

__all__ = ["Channel", "Edma", "Transfer", "TransferAborted"]

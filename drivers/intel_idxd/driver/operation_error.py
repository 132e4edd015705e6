# SPDX-License-Identifier: Apache-2.0
"""The error of an operation that the device refused or could not finish."""

from __future__ import annotations

from vfio_ims.errors import DeviceError

from ..hardware.completion import Completion

__all__ = ["OperationError"]


class OperationError(DeviceError):
    """An operation that the device could not do; ``completion`` is its record."""

    completion: Completion

    @classmethod
    def of(cls, operation: str, device: str, completion: Completion) -> OperationError:
        """The error for ``operation`` on ``device``, worded from its completion record."""
        error = cls(operation, device=device, why=str(completion))
        error.completion = completion
        return error

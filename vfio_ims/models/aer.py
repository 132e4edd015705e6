# SPDX-License-Identifier: Apache-2.0
"""What a model's error does to its AER registers, as hardware records it (PCIe 6.0, 6.2.4.2 and 7.8.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vfio_ims.errors import UsageError

if TYPE_CHECKING:
    from vfio_ims.models.config_space import ModelConfig

__all__ = ["record_uncorrectable"]

_STATUS, _MASK, _CONTROL, _HEADER_LOG = 0x04, 0x08, 0x18, 0x1C
_POINTER = 0x1F


def record_uncorrectable(config: ModelConfig, errors: int, header: bytes) -> bool:
    """Set the status bits; the first unmasked error takes the pointer and the header log. Whether one is unmasked."""
    at = config.aer
    if at is None:
        raise UsageError("report an error", why="the model has no AER capability")
    status, mask = (int.from_bytes(config.load(at + register, 4), "little") for register in (_STATUS, _MASK))
    config.set_bits(at + _STATUS, 4, errors, errors)
    unmasked = errors & ~mask
    if unmasked and not status & ~mask:
        config.set_bits(at + _CONTROL, 4, (unmasked & -unmasked).bit_length() - 1, _POINTER)
        for word in range(0, 16, 4):  # the log holds the header's double words, the first byte highest
            log = int.from_bytes(header[word : word + 4].ljust(4, b"\0"), "big")
            config.set_bits(at + _HEADER_LOG + word, 4, log, 0xFFFF_FFFF)
    return bool(unmasked)

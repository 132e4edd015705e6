# SPDX-License-Identifier: Apache-2.0
"""Config space that is read as far as it is looked at: the same capabilities, with a few reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.pci.dumps import SPR_DSA, SPR_DSA_IMS_CLEAR, SPR_DSA_SECOND_VENDOR
from vfio_ims.errors import UsageError
from vfio_ims.pci.capabilities import decode
from vfio_ims.pci.config import FULL_SIZE, ConfigSource, ConfigSpace
from vfio_ims.pci.config_on_demand import ConfigOnDemand


class Reader:
    """Answers from ``data``, and keeps what it was asked for."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.asked: list[tuple[int, int]] = []

    def __call__(self, offset: int, size: int) -> bytes:
        self.asked.append((offset, size))
        return self.data[offset : offset + size]


def on_demand(data: bytes) -> tuple[ConfigOnDemand, Reader]:
    reader = Reader(data)
    return ConfigOnDemand(reader, len(data), ConfigSource.IMAGE), reader


def agree(data: bytes) -> Reader:
    """Both ways decode the same; what was read for it."""
    config, reader = on_demand(data)
    one, whole = decode(config), decode(ConfigSpace(data))
    asked = reader.asked.copy()
    assert one.to_json() == whole.to_json()
    assert [item.data for item in one] == [item.data for item in whole]
    assert config.data == data
    assert len(set(reader.asked)) == len(reader.asked), "each block once"
    reader.asked = asked
    return reader


@pytest.mark.parametrize("data", [SPR_DSA, SPR_DSA_IMS_CLEAR, SPR_DSA_SECOND_VENDOR])
def test_a_quarter_of_it_is_read_for_a_dsa(data: bytes) -> None:
    assert sum(size for _, size in agree(data).asked) <= FULL_SIZE // 4


@given(st.lists(st.tuples(st.integers(0, FULL_SIZE - 1), st.integers(0, 0xFF)), max_size=40))
def test_damaged_ones_decode_alike(changes: list[tuple[int, int]]) -> None:
    data = bytearray(SPR_DSA)
    for at, value in changes:
        data[at] = value
    agree(bytes(data))


def test_what_is_not_there_is_refused() -> None:
    config, _ = on_demand(bytes(256))
    with pytest.raises(UsageError, match="0x100 bytes"):
        config.read(254, 4)
    assert config.bytes_at(250, 300) == bytes(6)
    assert repr(config) == "ConfigOnDemand(0000:0000, 256 bytes from image)"

# SPDX-License-Identifier: Apache-2.0
"""CRCs of the models are the same with a library and without one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vfio_ims.drivers.intel_idxd.model.checksums import CRC16_T10, CRC32C, by_table, crc


@given(
    data=st.binary(max_size=200),
    width=st.sampled_from([16, 32, 64]),
    polynomial=st.integers(0, (1 << 63) - 1),
    register=st.integers(0, (1 << 64) - 1),
    reflect=st.booleans(),
)
def test_the_library_computes_what_the_table_does(
    data: bytes, width: int, polynomial: int, register: int, reflect: bool
) -> None:
    pytest.importorskip("crcmod", reason="needs crcmod-plus: pip install 'vfio-ims[crc]'")
    mask = (1 << width) - 1
    given_to = (data, polynomial & mask | 1, width, register & mask)
    assert crc(*given_to, reflect=reflect) == by_table(*given_to, reflect=reflect)


@pytest.mark.parametrize("compute", [crc, by_table])
def test_known_answers(compute: object) -> None:
    """The catalogue of parametrised CRC algorithms has these: CRC-32/ISCSI, CRC-16/T10-DIF, CRC-64/ECMA-182."""
    assert callable(compute)
    text = b"123456789"
    assert compute(text, CRC32C, 32, 0xFFFF_FFFF, reflect=True) ^ 0xFFFF_FFFF == 0xE306_9283
    assert compute(text, CRC16_T10, 16) == 0xD0DB
    assert compute(text, 0x42F0_E1EB_A9EA_3693, 64) == 0x6C40_DF5F_0B49_7347

# SPDX-License-Identifier: Apache-2.0
"""Whatever functions this machine has are read and decoded without a crash or a false alarm."""

import json

import pytest

from vfio_ims.sysfs import Function, find, functions, interrupt_remapping


@pytest.mark.parametrize("function", functions(), ids=str)
def test_a_real_function_is_read_and_decoded(function: Function) -> None:
    assert function.id is not None
    assert function.config is not None
    assert function.capabilities is not None
    header = function.config.header
    assert f"{header.vendor:04x}:{header.device:04x}" == function.id or function.config.absent
    json.dumps(function.capabilities.to_json())
    for name in (*function.names, str(function)):
        assert find(name) is not None
    assert interrupt_remapping(function).text
    sizes = function.bar_sizes or {}
    for bar in function.bars:
        assert bar.size == sizes[bar.index]

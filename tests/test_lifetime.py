# SPDX-License-Identifier: Apache-2.0
"""An owner that Ctrl-C breaks off while it is made: the finaliser finds either no owner or a whole one."""

from __future__ import annotations

import warnings

from tests.behaviour.interrupting import sweep
from vfio_ims.lifetime import Owner


def test_ctrl_c_at_every_instruction_of_making_one() -> None:
    released: list[str] = []

    class Part(Owner):
        def _release(self) -> None:
            released.append(self.label)

    parent = Part("parent")

    def act() -> None:
        Part("child", parent).close()

    def check() -> None:
        del released[:]
        parent.close_children()
        assert released in ([], ["child"])
        del released[:]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        assert sweep(act, check, most=10_000) > 100
    parent.close()

# SPDX-License-Identifier: Apache-2.0
"""SET_IRQS: MSI-X calls in any order, against a few lines of what must be true."""

from __future__ import annotations

import os

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.descriptors import Descriptors
from tests.platform.irqs import (
    EVENTFD,
    MSIX,
    NONE,
    TRIGGER,
    count,
    make,
)
from vfio_ims.errors import DeviceBusy, UsageError


class AgainstTheKernelsRules(RuleBasedStateMachine):
    """MSI-X calls in any order, against a few lines of what must be true."""

    def __init__(self) -> None:
        super().__init__()
        self.fds = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(8)]
        self.before = Descriptors()
        self.irqs = make(entries=6)
        self.enabled = False
        self.attached: dict[int, int] = {}  # vector: which eventfd
        self.claimed: set[int] = set()

    @rule(start=st.integers(0, 7), which=st.lists(st.sampled_from([-1, 0, 1, 2, 3, 99]), min_size=1, max_size=4))
    def attach(self, start: int, which: list[int]) -> None:
        numbers = [self.fds[item] if 0 <= item < 8 else item if item < 0 else 99999 for item in which]
        span = range(start, start + len(which))
        first_bad: int | None = None
        claimed = set(self.claimed)
        if span.stop <= 8:
            if not self.enabled:
                claimed = set(range(span.stop)) if span.stop <= 6 else None  # type: ignore[assignment]
            if claimed is not None:
                for vector, item in zip(span, which, strict=True):
                    if item < 0:
                        continue
                    if vector not in claimed:
                        if len(claimed) == 6:
                            first_bad = vector
                            break
                        claimed.add(vector)
                    if item == 99:
                        first_bad = vector
                        break
        try:
            self.irqs.set(MSIX, EVENTFD | TRIGGER, start, len(which), numbers)
        except UsageError:
            assert span.stop > 8 or first_bad is not None
        except DeviceBusy:  # the remapping table is full
            assert claimed is None or first_bad is not None
        else:
            assert first_bad is None
            assert claimed is not None
            assert span.stop <= 8
        if span.stop > 8 or claimed is None:
            return
        if first_bad is not None:
            if not self.enabled:
                return
            for vector in range(start, first_bad + 1):
                self.attached.pop(vector, None)
        else:
            for vector, item in zip(span, which, strict=True):
                self.attached.pop(vector, None)
                if item >= 0:
                    self.attached[vector] = item
        self.enabled, self.claimed = True, claimed

    @rule()
    def disable(self) -> None:
        try:
            self.irqs.set(MSIX, NONE | TRIGGER, 0, 0)
        except UsageError:
            assert not self.enabled
        else:
            assert self.enabled
        self.enabled = False
        self.attached.clear()
        self.claimed.clear()

    @rule(vector=st.integers(0, 7))
    def trigger(self, vector: int) -> None:
        try:
            self.irqs.set(MSIX, NONE | TRIGGER, vector, 1)
        except UsageError:
            assert not self.enabled
        counts = [count(fd) for fd in self.fds]
        expected = [0] * 8
        if vector in self.attached:
            expected[self.attached[vector]] = 1
        assert counts == expected

    @invariant()
    def the_table_shows_exactly_the_attached_vectors(self) -> None:
        assert self.irqs.msix.enabled == self.enabled
        messages = set()
        for vector in range(8):
            entry = self.irqs.table.read(16 * vector, 16)
            if vector in self.attached:
                assert entry[:8] != bytes(8)
                assert entry[12] == 0
                messages.add(entry[:12])
            else:
                assert entry == bytes(12) + b"\1\0\0\0"
        assert len(messages) == len(self.attached)

    @invariant()
    def as_many_descriptors_as_attached_vectors(self) -> None:
        assert self.before.opened() == len(self.attached)

    def teardown(self) -> None:
        self.irqs.close()
        assert not self.before.left()
        for fd in self.fds:
            os.close(fd)


AgainstTheKernelsRules.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestAgainstTheKernelsRules = AgainstTheKernelsRules.TestCase

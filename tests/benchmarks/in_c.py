# SPDX-License-Identifier: Apache-2.0
"""The rivals in C, compiled as the package's own C is."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import cffi

_SOURCE = Path(__file__).with_name("rival.c")


def build(folder: Path) -> Any:
    """The module of ``rival.c``, with ``ffi`` and ``lib``, compiled into ``folder``."""
    ffi = cffi.FFI()
    ffi.cdef("""
        uint32_t rival_read32(uintptr_t base, uint64_t offset);
        void rival_write32(uintptr_t base, uint64_t offset, uint32_t value);
        void rival_table(uintptr_t base, const uint32_t *indices, uint64_t count, const uint32_t *words);
        void rival_descriptors(uintptr_t portal, const uint64_t *destinations, const uint64_t *sources,
                               const uint32_t *sizes, uintptr_t records, uint64_t iova, uint64_t count);
        void rival_collect(uintptr_t records, uint64_t count, uint8_t *out);
        void rival_copy(uintptr_t to, uintptr_t from, uint64_t size);
        void rival_list(uintptr_t list, const uint64_t *sources, const uint64_t *targets, const uint32_t *sizes,
                        uint64_t count, uintptr_t doorbell);
        void rival_enqueue(uintptr_t port, const uint64_t *data, const uint16_t *flows, uint8_t queue, uint64_t count);
        uint64_t rival_dequeue(uintptr_t ring, uint8_t generation, uint64_t most, uint8_t *out, uintptr_t port);
        struct epoll_event;
        int rival_drain(int epoll, struct epoll_event *events, int most, uint64_t *counts);
    """)
    ffi.set_source("_vfio_ims_rival", _SOURCE.read_text(), extra_compile_args=["-O2"])
    spec = importlib.util.spec_from_file_location("_vfio_ims_rival", ffi.compile(tmpdir=str(folder)))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

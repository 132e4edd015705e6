# SPDX-License-Identifier: Apache-2.0
"""Loads the compiled module, on first use, and types what is in it."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from collections.abc import Callable
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, cast

import vfio_ims
from vfio_ims.errors import SetupError
from vfio_ims.native.build_stamp import stamp

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

__all__ = ["CData", "Calls", "Lib", "Native", "calls", "native"]

CData: TypeAlias = Any
"""A C value as cffi hands it out; its kind is in the name of the parameter."""

_REBUILD = "pip install -e .   (in the source tree; elsewhere: pip install --force-reinstall vfio-ims)"


class Lib(Protocol):
    """The compiled functions. The headers beside this file say what each does."""

    ACCESS_OK: int
    ACCESS_BOUNDS: int
    ACCESS_MISALIGNED: int
    ACCESS_GUARDED: int
    ACCESS_TRAPPED: int
    ACCESS_CLOSED: int
    ACCESS_FORKED: int
    ACCESS_GONE: int
    ACCESS_UNSUPPORTED: int
    ACCESS_INVALID: int
    ACCESS_BUSY: int

    EVENTS_AT_ONCE: int

    # uapi.h: requests and flags of the kernel
    IOC_GET_API_VERSION: int
    IOC_CHECK_EXTENSION: int
    IOC_SET_IOMMU: int
    IOC_GROUP_GET_STATUS: int
    IOC_GROUP_SET_CONTAINER: int
    IOC_GROUP_UNSET_CONTAINER: int
    IOC_GROUP_GET_DEVICE_FD: int
    IOC_DEVICE_GET_INFO: int
    IOC_DEVICE_GET_REGION_INFO: int
    IOC_DEVICE_GET_IRQ_INFO: int
    IOC_DEVICE_SET_IRQS: int
    IOC_DEVICE_RESET: int
    IOC_DEVICE_GET_PCI_HOT_RESET_INFO: int
    IOC_DEVICE_PCI_HOT_RESET: int
    IOC_IOMMU_GET_INFO: int
    IOC_IOMMU_MAP_DMA: int
    IOC_IOMMU_UNMAP_DMA: int
    IOC_DEVICE_FEATURE: int
    IOC_DEVICE_BIND_IOMMUFD: int
    IOC_DEVICE_ATTACH_PT: int
    IOC_DEVICE_DETACH_PT: int
    IOC_IOMMUFD_DESTROY: int
    IOC_IOAS_ALLOC: int
    IOC_IOAS_RANGES: int
    IOC_IOAS_MAP: int
    IOC_IOAS_UNMAP: int
    IOC_HWPT_ALLOC: int
    IOC_GET_HW_INFO: int
    IOC_VFIO_IOAS: int
    IOC_IOAS_MAP_FILE: int
    IOC_IOAS_NOIOMMU_GET_PA: int
    IOC_NOIOMMU: int
    IOC_UNMAP_ALL: int
    IOC_DMA_UNMAP_ALL: int
    IOC_FEATURE_DMA_BUF: int
    IOC_TYPE1V2: int
    IOC_GROUP_VIABLE: int
    IOC_GROUP_CONTAINER_SET: int
    IOC_DEVICE_CAPS: int
    IOC_REGION_MMAP: int
    IOC_REGION_CAPS: int
    IOC_CAP_SPARSE_MMAP: int
    IOC_CAP_MSIX_MAPPABLE: int
    IOC_IOMMU_PGSIZES: int
    IOC_IOMMU_CAPS: int
    IOC_CAP_IOVA_RANGE: int
    IOC_CAP_DMA_AVAIL: int
    IOC_DMA_READ: int
    IOC_DMA_WRITE: int
    IOC_FEATURE_GET: int
    IOC_FEATURE_SET: int
    IOC_FEATURE_PROBE: int
    IOC_FEATURE_LOW_POWER_ENTRY: int
    IOC_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP: int
    IOC_FEATURE_LOW_POWER_EXIT: int
    IOC_HOT_RESET_DEV_ID: int
    IOC_ATTACH_PASID: int
    IOC_IOAS_FIXED: int
    IOC_IOAS_WRITABLE: int
    IOC_IOAS_READABLE: int
    IOC_HWPT_PASID: int

    def ioc_call(self, fd: int, request: int, argument: CData, /) -> int: ...
    def ioc_call_value(self, fd: int, request: int, argument: int, /) -> int: ...

    def native_stamp(self) -> CData: ...

    def window_new(self, size: int, /) -> CData: ...
    def window_free(self, window: CData, /) -> None: ...
    def window_map(self, window: CData, at: int, size: int, fd: int, file_offset: int, writable: bool, /) -> int: ...
    def window_guard(self, window: CData, start: int, end: int, /) -> None: ...
    def window_divert(self, window: CData, diverted: bool, /) -> None: ...
    def window_close(self, window: CData, /) -> None: ...
    def window_mapped(self, window: CData, offset: int, size: int, /) -> int: ...
    def window_status(self) -> int: ...
    def window_read8(self, window: CData, offset: int, /) -> int: ...
    def window_read16(self, window: CData, offset: int, /) -> int: ...
    def window_read32(self, window: CData, offset: int, /) -> int: ...
    def window_read64(self, window: CData, offset: int, /) -> int: ...
    def window_write8(self, window: CData, offset: int, value: int, /) -> int: ...
    def window_write16(self, window: CData, offset: int, value: int, /) -> int: ...
    def window_write32(self, window: CData, offset: int, value: int, /) -> int: ...
    def window_write64(self, window: CData, offset: int, value: int, /) -> int: ...
    def window_read_block(self, window: CData, offset: int, count: int, width: int, out: CData, /) -> int: ...
    def window_write_block(self, window: CData, offset: int, count: int, width: int, data: CData, /) -> int: ...
    def window_poll(
        self, window: CData, offset: int, width: int, mask: int, expected: int, timeout_ns: int, value: CData, /
    ) -> int: ...
    def window_write_table(
        self,
        window: CData,
        offset: int,
        stride: int,
        indices: CData,
        rows: int,
        steps: CData,
        step_count: int,
        words: CData,
        words_per_row: int,
        /,
    ) -> int: ...
    def window_read_table(
        self, window: CData, offset: int, stride: int, indices: CData, rows: int, out: CData, /
    ) -> int: ...
    def window_store64(
        self, window: CData, offset: int, data: CData, count: int, stride: int, span: int, pieces: bool, /
    ) -> int: ...

    def window_store_rows(
        self,
        window: CData,
        offset: int,
        start: int,
        stride: int,
        span: int,
        pieces: bool,
        pattern: bytes,
        count: int,
        columns: CData,
        column_count: int,
        records: int,
        record_step: int,
        depth: int,
        timeout_ns: int,
        following: CData,
        /,
    ) -> int: ...

    def row_page_close(self, page: CData, /) -> None: ...
    def row_plan_own(self, plan: CData, /) -> None: ...
    def row_plan_bare(self, plan: CData, /) -> None: ...
    def row_plan_filled(self, plan: CData, own: bool, /) -> None: ...
    def row_plan_begin(self, plan: CData, /) -> int: ...
    def row_plan_cancel(self, plan: CData, /) -> None: ...
    def row_plan_free(self, plan: CData, /) -> None: ...
    def row_plan_again(self, window: CData, plan: CData, /) -> int: ...
    def row_plan_again_with(self, window: CData, plan: CData, first: CData, second: CData, third: CData, /) -> int: ...
    def row_plan_store(self, window: CData, plan: CData, depth: int, timeout_ns: int, /) -> int: ...
    def row_plan_store_rest(self, window: CData, plan: CData, depth: int, timeout_ns: int, /) -> int: ...
    def row_plan_finish(self, plan: CData, expected: int, timeout_ns: int, /) -> int: ...

    def credit_pool_take(self, pool: CData, count: int, /) -> int: ...
    def credit_pool_give(self, pool: CData, count: int, /) -> None: ...
    def command_portal_own(self, portal: CData, /) -> None: ...
    def command_portal_enter(self, portal: CData, /) -> int: ...
    def command_portal_leave(self, portal: CData, /) -> None: ...
    def command_portal_close(self, portal: CData, timeout_ns: int, /) -> int: ...
    def command_portal_store(
        self, portal: CData, pool: CData, second: int, firsts: CData, column: CData, count: int, /
    ) -> int: ...
    def command_portal_take(self, portal: CData, ring: CData, limit: int, out: CData, /) -> int: ...
    def entry_ring_own(self, ring: CData, /) -> None: ...
    def entry_ring_restart(self, ring: CData, /) -> None: ...
    def entry_ring_begin(self, ring: CData, /) -> int: ...
    def entry_ring_copy(self, ring: CData, limit: int, out: CData, /) -> int: ...
    def entry_ring_end(self, ring: CData, count: int, /) -> None: ...

    def poller_new(self) -> CData: ...
    def poller_close(self, poller: CData, /) -> None: ...
    def poller_free(self, poller: CData, /) -> None: ...
    def poller_fileno(self, poller: CData, /) -> int: ...
    def poller_add(self, poller: CData, fd: int, /) -> int: ...
    def poller_remove(self, poller: CData, token: int, /) -> int: ...
    def poller_wake(self, poller: CData, /) -> None: ...
    def poller_nudge(self, poller: CData, /) -> int: ...
    def poller_take(self, poller: CData, most: int, tokens: CData, counts: CData, /) -> int: ...
    def poller_take_some(self, poller: CData, most: int, tokens: CData, counts: CData, /) -> int: ...
    def poller_taken(self, poller: CData, /) -> CData: ...
    def poller_epoch(self, poller: CData, /) -> int: ...
    def poller_sleep(self, poller: CData, epoch: int, timeout_ms: int, /) -> int: ...
    def event_signal(self, fd: int, count: int, /) -> int: ...
    def event_notify(self, fd: int, /) -> int: ...
    def event_drain(self, fd: int, /) -> int: ...
    def event_signal_merged(self, fd: int, /) -> int: ...
    def event_signal_many(self, fds: CData, count: int, /) -> int: ...
    def event_timer(self, period_ms: int, /) -> int: ...

    def memory_place(self, address: int, size: int, fd: int, offset: int, writable: int, /) -> int: ...
    def memory_hold(self, address: int, size: int, /) -> int: ...
    def memory_guard(self) -> int: ...
    def memory_copy(self, to: int, from_: int, size: int, /) -> int: ...
    def memory_put(self, to: int, from_: int, size: int, /) -> int: ...
    def memory_fill(self, to: int, byte: int, size: int, /) -> int: ...
    def memory_load(self, address: int, width: int, /) -> int: ...
    def memory_store(self, address: int, width: int, value: int, /) -> None: ...
    def memory_change(self, address: int, clear: int, set_: int, /) -> int: ...
    def memory_poll(
        self, address: int, width: int, mask: int, expected: int, differs: bool, timeout_ns: int, /
    ) -> int: ...
    def memory_poll_any(
        self,
        addresses: CData,
        count: int,
        width: int,
        mask: int,
        expected: int,
        differs: bool,
        timeout_ns: int,
        found: CData,
        /,
    ) -> int: ...

    def memory_scatter(self, to: CData, step: int, values: CData, width: int, count: int, /) -> int: ...
    def memory_collect(self, first: int, step: int, count: int, timeout_ns: int, out: CData, /) -> int: ...

    def cpu_has_store64(self) -> int: ...


class Calls(Protocol):
    """The compiled functions that take Python's objects as they are: ``calls.c`` says what each does."""

    def collect(self, first: int, step: int, count: int, /) -> bytearray | None: ...
    def lacks(self, numbers: Buffer, /) -> bool: ...
    def store_list(
        self,
        window: int,
        offset: int,
        pattern: bytes,
        places: bytes,
        first: int,
        count: int,
        last: int,
        arrays: tuple[Buffer, ...],
        /,
    ) -> int: ...
    def submitter(self, state: tuple[object, ...], /) -> Callable[..., Any]: ...
    def submit_plan(
        self, call: tuple[int, int, type], places: bytes, source: object, destination: object, size: object, /
    ) -> int: ...
    def write_table(
        self, window: int, offset: int, stride: int, indices: object, steps: object, words: object, /
    ) -> int: ...
    def drain_one(self, state: tuple[object, ...], loop: object, /) -> object: ...
    def draining(self) -> object: ...


class Native(NamedTuple):
    """The compiled module's two halves."""

    ffi: Any  # cffi's own class knows nothing of the fields of our structures
    lib: Lib


@functools.cache
def native() -> Native:
    """Load the compiled module.

    Raises SetupError where it is missing, does not load, or was compiled from other sources than those beside it; and
    on a free-threaded build of Python, which would not find the module, and say only that.
    """
    if "t" in sys.abiflags:
        raise SetupError(
            "load the compiled module",
            why="this Python is a free-threaded build, which vfio-ims does not support",
            hint="use a build of Python 3.11 or later with the GIL (python3.13, not python3.13t)",
        )
    try:
        module = importlib.import_module("vfio_ims.native._native")
    except ImportError as error:
        raise SetupError("load the compiled module", why=str(error), hint=_REBUILD) from error
    ffi, lib = module.ffi, cast(Lib, module.lib)
    built = ffi.string(lib.native_stamp()).decode()
    wanted = stamp(vfio_ims.__version__)
    if built != wanted:
        raise SetupError(
            "load the compiled module",
            why=f"it was compiled from other sources (it is {built!r}, the files beside it are {wanted!r})",
            hint=_REBUILD,
        )
    return Native(ffi, lib)


@functools.cache
def calls() -> Calls:
    """The second module in the compiled module's file. Raises what ``native`` does."""
    native()
    name, file = "vfio_ims.native._calls", str(sys.modules["vfio_ims.native._native"].__file__)
    loader = ExtensionFileLoader(name, file)
    module = importlib.util.module_from_spec(ModuleSpec(name, loader, origin=file))
    loader.exec_module(module)
    return cast(Calls, module)

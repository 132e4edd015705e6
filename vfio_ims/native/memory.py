# SPDX-License-Identifier: Apache-2.0
"""Memory that devices may share: a memfd, mapped once, not inherited by a fork."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import sys
import weakref
from typing import Literal

from vfio_ims.counted import by_count, counted
from vfio_ims.errors import SetupError, UsageError, VfioImsError
from vfio_ims.lifetime import Owner
from vfio_ims.native.descriptor import Descriptor
from vfio_ims.native.failure import failed
from vfio_ims.native.lib import native

__all__ = ["GIB", "MIB", "FileMemory", "SharedMemory", "address_of", "put", "sealed_file", "view_of"]

MIB, GIB = 1 << 20, 1 << 30
_ONE_STORE: dict[int, Literal["B", "H", "I", "Q"]] = {1: "B", 2: "H", 4: "I", 8: "Q"}
_HUGE_FLAGS = {2 * MIB: os.MFD_HUGE_2MB, GIB: os.MFD_HUGE_1GB}
_MAP_NORESERVE = 0x4000  # Linux, asm-generic/mman.h; Python 3.11's mmap does not name it
_HELD: weakref.WeakSet[FileMemory] = weakref.WeakSet()


class FileMemory(Descriptor):
    """``size`` bytes of a file from ``offset`` on, mapped once and shared. It owns the descriptor ``fd``.

    A forked child does not inherit the mapping: touching it there is a fault. ``align``: what the address is a multiple
    of. Raises an error of the package's; ``fd`` is closed then.
    """

    def __init__(
        self,
        fd: int,
        size: int,
        name: str,
        *,
        offset: int = 0,
        writable: bool = True,
        align: int = mmap.PAGESIZE,
        parent: Owner | None = None,
    ) -> None:
        self.size, self.offset, self.writable = size, offset, writable
        self._area: mmap.mmap | None = None
        self._abandoned = False
        super().__init__(fd, name, parent)
        try:
            self.address = self._map(align)
        except BaseException:
            self.close()
            raise
        _HELD.add(self)

    def _map(self, align: int) -> int:
        # Python's mapping object counts the views of its memory and will not close under them. It is made over
        # nothing, larger by the alignment, and the file put over its aligned part.
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
        try:
            self._area = mmap.mmap(-1, self.size + align - mmap.PAGESIZE, flags=flags)
        except (OSError, OverflowError) as failure:
            raise self._refused(getattr(failure, "errno", None) or errno.ENOMEM) from failure
        start = address_of(self._area)
        address = -(-start // align) * align
        self._skip = address - start
        error = -native().lib.memory_place(address, self.size, self._fd, self.offset, self.writable)
        if error:
            raise self._refused(error)
        return address

    def _refused(self, code: int) -> VfioImsError:
        operation = f"map {self.size:#x} bytes of a file at {self.offset:#x}"
        if code in (errno.EACCES, errno.EPERM):
            why = f"it is not open for reading{' and writing' if self.writable else ''}, or sealed against it"
            return UsageError(operation, device=self.label, why=why, errno=code)
        if code in (errno.ENODEV, errno.EINVAL):
            why = "it cannot be mapped there: not at all, or in larger pages only"
            return UsageError(operation, device=self.label, why=why, errno=code)
        return failed(code, operation, self.label)

    @property
    def fd(self) -> int:
        """The file behind the memory; ``offset`` in it is the memory's start."""
        return self.fileno()

    @property
    def view(self) -> memoryview:
        """The bytes. Release it, and what was cut from it, before closing."""
        self.check_open("look at shared memory")
        assert self._area is not None
        whole = memoryview(self._area)[self._skip : self._skip + self.size]
        return whole if self.writable else whole.toreadonly()

    def close(self) -> None:
        """Unmap and free it. UsageError while memoryviews of it exist: it then stays as it was."""
        if not self.closed and self._pid == os.getpid() and self._area is not None:
            try:
                self._area.close()
            except BufferError:
                raise UsageError(
                    "close shared memory",
                    device=self.label,
                    why="memoryviews of it are still in use, and would point at nothing",
                    hint="drop or release() every view, slice and array made from it first",
                ) from None
        super().close()

    def abandon(self) -> object:
        """Close the file and forget the memory: it is freed with the last view of it, or of what this returns.

        Safe to call again.
        """
        kept, self._area = self._area, None
        self._abandoned = True
        super().close()
        return kept

    def __repr__(self) -> str:
        state = ", closed" if self.closed else f" at {self.address:#x}"
        return f"<{type(self).__name__} {self.label}: {self.size:#x} bytes{state}>"


class SharedMemory(FileMemory):
    """At least ``size`` zeroed bytes, page aligned, backed by a sealed memfd: what DMA buffers are made of.

    ``hugepages`` is None, 2 MiB or 1 GiB: the size is rounded up to whole pages of that size. Raises SetupError where
    the kernel has no such pages to give.
    """

    def __init__(
        self, size: int, *, hugepages: int | None = None, name: str = "vfio-ims", parent: Owner | None = None
    ) -> None:
        if size <= 0:
            raise UsageError("allocate shared memory", device=name, why=f"the size must be positive, not {size!r}")
        if hugepages is not None and hugepages not in _HUGE_FLAGS:
            why = f"hugepages must be None, {2 * MIB} or {GIB}, not {hugepages!r}"
            raise UsageError("allocate shared memory", device=name, why=why)
        page = hugepages or mmap.PAGESIZE
        size = -(-size // page) * page
        self.hugepages = hugepages
        align = max(page, min(1 << (size.bit_length() - 1), 2 * MIB))
        super().__init__(sealed_file(name, size, hugepages), size, name, align=align, parent=parent)

    def _refused(self, code: int) -> VfioImsError:
        return _no_memory(code, self.size, self.hugepages, self.label)


def view_of(address: int, size: int) -> memoryview:
    """Memory of this process as bytes, writable. Nothing keeps it alive: its owner must outlive the view."""
    ffi, _ = native()
    return memoryview(ffi.buffer(ffi.cast("char *", address), size))


def put(memory: memoryview, data: bytes) -> None:
    """Copy ``data`` over ``memory``, of the same size, as a device's write lands: what others poll changes once.

    1, 2, 4 and 8 bytes are one store. Of up to 64 bytes the first 8 are stored last, and once: a reader that polls the
    head of a completion record may read the rest. (memcpy stores short lengths twice, one over the other. A reader that
    is quick enough sees the value, clears it, and finds it set again.)
    """
    size = len(data)
    code = _ONE_STORE.get(size)
    if code is not None:
        memory.cast(code)[0] = int.from_bytes(data, sys.byteorder)
    elif 8 < size <= 64:
        memory[8:] = data[8:]
        memory[:8].cast("Q")[0] = int.from_bytes(data[:8], sys.byteorder)
    else:
        memory[:] = data


def address_of(area: mmap.mmap) -> int:
    """Where a mapping starts. Valid until it is closed."""
    ffi, _ = native()
    with ffi.from_buffer(area) as start:
        return int(ffi.cast("uintptr_t", start))


def sealed_file(name: str, size: int, hugepages: int | None = None) -> int:
    """A new memory file of ``size`` zeroed bytes, the caller's to close, whose size is fixed.

    So another process may have it: it cannot cut the file under a mapping of ours. Raises as ``SharedMemory``.
    """
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    if hugepages is not None:
        flags |= os.MFD_HUGETLB | _HUGE_FLAGS[hugepages]
    try:
        fd = os.memfd_create(name, flags)
    except OSError as error:
        raise _no_memory(error.errno or 0, size, hugepages, name) from error
    try:
        os.ftruncate(fd, size)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    except OSError as error:
        os.close(fd)
        raise _no_memory(error.errno or 0, size, hugepages, name) from error
    return fd


def _no_memory(code: int, size: int, hugepages: int | None, name: str) -> VfioImsError:
    operation = f"allocate {size:#x} bytes of shared memory"
    if hugepages is None or code not in (errno.ENOMEM, errno.ENODEV, errno.EINVAL, errno.ENOSPC):
        return failed(code, operation, name)
    pool = f"/sys/kernel/mm/hugepages/hugepages-{hugepages // 1024}kB"
    try:
        with open(f"{pool}/free_hugepages") as file:
            free = int(file.read())
    except OSError:
        why = f"this kernel has no pages of {hugepages // MIB} MiB"
        return SetupError(operation, device=name, why=why, hint="ask for other hugepages, or none", errno=code)
    need = size // hugepages
    needed = f"{counted(need, 'page')} of {hugepages // MIB} MiB {by_count(need, 'is', 'are')} needed"
    why = f"{needed} and {free} {by_count(free, 'is', 'are')} free"
    hint = f"echo {need} | sudo tee {pool}/nr_hugepages"
    return SetupError(operation, device=name, why=why, hint=hint, errno=code)


def _after_fork_in_child() -> None:
    # The mapping objects will unmap these addresses when they are freed: nothing else may be there by then.
    for memory in list(_HELD):
        if not memory.closed or memory._abandoned:
            native().lib.memory_hold(memory.address, memory.size)


os.register_at_fork(after_in_child=_after_fork_in_child)

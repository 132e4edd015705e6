/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a window, and single accesses. What moves more than one register is in window_bulk.c. */
#include "window.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mmio.h"
#include "window_private.h"

static __thread int last_status __attribute__((tls_model("initial-exec")));

/* Addresses for the whole region, aligned so that the kernel can map large BARs with large pages. */
static void *reserve(uint64_t size, uint64_t page)
{
    uint64_t align = page, spare;
    uint8_t *all, *base;

    while (align < size && align < (1ull << 30))
        align <<= 1;
    spare = align - page;
    all = mmap(NULL, size + spare, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (all == MAP_FAILED)
        return NULL;
    base = (uint8_t *)(((uintptr_t)all + align - 1) & ~(uintptr_t)(align - 1));
    if (base > all)
        munmap(all, (size_t)(base - all));
    if (base + size < all + size + spare)
        munmap(base + size, (size_t)((all + size + spare) - (base + size)));
    madvise(base, size, MADV_DONTFORK);
    return base;
}

struct window *window_new(uint64_t size)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    struct window *w = calloc(1, sizeof *w);

    if (!w)
        return NULL;
    if (size == 0 || size > (1ull << 46)) {
        free(w);
        errno = EINVAL;
        return NULL;
    }
    while ((1ull << w->page_shift) < page)
        w->page_shift++;
    w->size = size;
    w->reserved = (size + page - 1) & ~(page - 1);
    w->forks = fault_forks;
    w->pages = calloc(w->reserved >> w->page_shift, 1);
    w->base = w->pages ? reserve(w->reserved, page) : NULL;
    if (!w->base) {
        free(w->pages);
        free(w);
        errno = ENOMEM;
        return NULL;
    }
    return w;
}

int window_map(struct window *w, uint64_t at, uint64_t size, int fd, uint64_t file_offset, int writable)
{
    uint64_t page = 1ull << w->page_shift;
    int error;

    if ((at | size | file_offset) & (page - 1) || size == 0 || at > w->reserved || size > w->reserved - at)
        return -EINVAL;
    error = fault_install();
    if (error)
        return error;
    if (mmap(w->base + at, size, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED | MAP_FIXED, fd,
             (off_t)file_offset) == MAP_FAILED)
        return -errno;
    if (madvise(w->base + at, size, MADV_DONTFORK) != 0)
        return -errno;
    memset(w->pages + (at >> w->page_shift), writable ? PAGE_WRITE : PAGE_READ, size >> w->page_shift);
    return 0;
}

void window_guard(struct window *w, uint64_t start, uint64_t end)
{
    w->guard_start = start;
    w->guard_end = end;
}

void window_divert(struct window *w, int diverted)
{
    atomic_store(&w->diverted, diverted != 0);
}

void window_close(struct window *w)
{
    if (w->forks != fault_forks)
        return; /* the mappings are the parent's, and so may these addresses be in other use here */
    if (atomic_exchange(&w->closed, 1))
        return;
    while (atomic_load(&w->users))
        sched_yield();
    munmap(w->base, w->reserved);
}

void window_free(struct window *w)
{
    if (!w)
        return;
    window_close(w);
    free(w->pages);
    free(w);
}

int window_mapped(struct window *w, uint64_t offset, uint64_t size)
{
    if (window_enter(w, offset, size, 1, PAGE_READ) != ACCESS_OK)
        return 0;
    window_leave(w);
    return 1;
}

int window_status(void)
{
    return last_status;
}

#define READ(bits)                                                                    \
    int64_t window_read##bits(struct window *w, uint64_t offset)                      \
    {                                                                                 \
        int status = window_enter(w, offset, bits / 8, bits / 8, PAGE_READ);          \
        uint##bits##_t value;                                                         \
        if (status)                                                                   \
            return status;                                                            \
        WINDOW_ACCESS(w, ACCESS_GONE, value = mmio_load##bits(w->base + offset));     \
        return value;                                                                 \
    }

READ(8)
READ(16)
READ(32)

uint64_t window_read64(struct window *w, uint64_t offset)
{
    uint64_t value;

    last_status = window_enter(w, offset, 8, 8, PAGE_READ);
    if (last_status)
        return UINT64_MAX;
    WINDOW_ACCESS(w, (last_status = ACCESS_GONE, UINT64_MAX), value = mmio_load64(w->base + offset));
    return value;
}

#define WRITE(bits)                                                                   \
    int window_write##bits(struct window *w, uint64_t offset, uint##bits##_t value)   \
    {                                                                                 \
        int status = window_enter(w, offset, bits / 8, bits / 8, PAGE_WRITE);         \
        if (status)                                                                   \
            return status;                                                            \
        WINDOW_ACCESS(w, ACCESS_GONE, mmio_store##bits(w->base + offset, value));     \
        return ACCESS_OK;                                                             \
    }

WRITE(8)
WRITE(16)
WRITE(32)
WRITE(64)

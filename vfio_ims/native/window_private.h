/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VFIO_IMS_WINDOW_PRIVATE_H
#define VFIO_IMS_WINDOW_PRIVATE_H

#include <stdatomic.h>
#include <stdint.h>

#include "fault.h"
#include "status.h"
#include "window.h"

enum page { PAGE_TRAPPED, PAGE_READ, PAGE_WRITE };

struct window {
    uint8_t *base;
    uint64_t size;                 /* of the region, in bytes: what offsets are checked against */
    uint64_t guard_start, guard_end;
    uint8_t *pages;                /* enum page, one for each page of the reservation */
    uint64_t reserved;
    uint32_t page_shift;
    uint32_t forks;
    atomic_uint users;             /* threads inside an access; close() waits for them */
    atomic_uint closed;
    atomic_uint diverted;          /* whether Python sends the accesses elsewhere: no compiled loop of others may skip that */
};

static inline void window_leave(struct window *w)
{
    atomic_fetch_sub_explicit(&w->users, 1, memory_order_release);
}

/* Enter for an access to [offset, offset + size), of `width` bytes at a time: 0, and then window_leave() is due. */
static inline int window_enter(struct window *w, uint64_t offset, uint64_t size, uint64_t width, enum page need)
{
    int status = ACCESS_OK;

    if (w->forks != fault_forks)
        return ACCESS_FORKED;
    atomic_fetch_add(&w->users, 1);
    if (atomic_load(&w->closed)) {
        status = ACCESS_CLOSED;
    } else if (offset > w->size || size > w->size - offset) {
        status = ACCESS_BOUNDS;
    } else if (offset & (width - 1)) {
        status = ACCESS_MISALIGNED;
    } else if (need == PAGE_WRITE && offset < w->guard_end && w->guard_start < offset + size) {
        status = ACCESS_GUARDED;
    } else if (size) {
        uint64_t page = offset >> w->page_shift, last = (offset + size - 1) >> w->page_shift;
        for (; page <= last; page++)
            if (w->pages[page] < (uint8_t)need)
                status = ACCESS_TRAPPED;
    }
    if (status)
        window_leave(w);
    return status;
}

/* Loops stay out of the functions that call sigsetjmp, whose locals must not change under it. */
#define LOOP __attribute__((noinline)) static

/* Make the access of a window that was entered, and leave it; a SIGBUS on the way leaves it too and returns `gone`. */
#define WINDOW_ACCESS(w, gone, access)        \
    do {                                      \
        sigjmp_buf here;                      \
        if (sigsetjmp(here, 0) != 0) {        \
            window_leave(w);                  \
            return gone;                      \
        }                                     \
        fault_escape = &here;                 \
        access;                               \
        fault_escape = NULL;                  \
        window_leave(w);                      \
    } while (0)

#endif

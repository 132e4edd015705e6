/* SPDX-License-Identifier: Apache-2.0 */
/* 64-byte stores to a portal. The slots are checked before the first one. */
#include <string.h>

#include "clock.h"
#include "cpu.h"
#include "mmio.h"
#include "window_private.h"

#if defined(__x86_64__)
/* MOVDIR64B rax, [rdx] spelled out, so that any compiler takes it. */
static inline void direct_store64(void *to, const void *from)
{
    __asm__ volatile(".byte 0x66, 0x0f, 0x38, 0xf8, 0x02" ::"a"(to), "d"(from) : "memory");
}
#else
static inline void direct_store64(void *to, const void *from)
{
    (void)to;
    (void)from; /* never reached: cpu_has_movdir64b() is false here */
}
#endif

static inline void store_in_pieces(uint8_t *to, const uint8_t *from)
{
    uint64_t word;

    for (int i = 0; i < 8; i++) {
        memcpy(&word, from + 8 * i, sizeof word); /* the caller's buffer: of any alignment */
        mmio_store64(to + 8 * i, word);
    }
}

LOOP void store_descriptors(uint8_t *portal, const uint8_t *data, uint64_t count, uint64_t stride, uint64_t span,
                              int pieces)
{
    uint64_t at = 0;

    mmio_direct_store_fence();
    for (uint64_t i = 0; i < count; i++, data += 64) {
        if (pieces)
            store_in_pieces(portal + at, data);
        else
            direct_store64(portal + at, data);
        at += stride;
        if (at >= span)
            at = 0;
    }
    mmio_direct_store_fence();
}

int window_store64(struct window *w, uint64_t offset, const void *data, uint64_t count, uint64_t stride,
                   uint64_t span, int pieces)
{
    uint64_t reach;
    int status;

    if (!pieces && !cpu_has_movdir64b())
        return ACCESS_UNSUPPORTED;
    if (count == 0)
        return ACCESS_OK;
    if (stride & 63)
        return ACCESS_MISALIGNED;
    if (span < 64 || (stride && span % stride))
        return ACCESS_INVALID;
    /* How far the slots reach: all of the span once the descriptors have gone round. */
    reach = stride == 0 ? 64 : (count - 1 < span / stride ? (count - 1) * stride + 64 : span - stride + 64);
    status = window_enter(w, offset, reach, 64, PAGE_WRITE);
    if (status)
        return status;
    WINDOW_ACCESS(w, ACCESS_GONE, store_descriptors(w->base + offset, data, count, stride, span, pieces));
    return ACCESS_OK;
}

/* Whether the byte is not 0 now or before the deadline. */
static int came(uint64_t address, int64_t deadline)
{
    const volatile uint8_t *byte = (const volatile uint8_t *)(uintptr_t)address;

    while (mmio_load8(byte) == 0) {
        if (now_ns() >= deadline)
            return 0;
        mmio_pause();
    }
    return 1;
}

enum { MOST_COLUMNS = 16 };

struct rows {
    uint8_t *portal;
    uint64_t start, stride, span;
    int pieces;
    const void *pattern;
    uint64_t count;
    const struct row_column *columns;
    uint32_t column_count;
    uint64_t waits, wait_step, depth;
    int64_t timeout_ns;
};

/* Put the next value of each column into the row: those of 8 bytes, which come first, and then the others. */
static inline void fill_row(uint8_t *row, struct row_column *columns, uint32_t words, uint32_t count)
{
    uint32_t c = 0;

    for (; c < words; c++) {
        memcpy(row + columns[c].at, columns[c].data, 8);
        columns[c].data = (const uint8_t *)columns[c].data + columns[c].step;
    }
    for (; c < count; c++) {
        memcpy(row + columns[c].at, columns[c].data, columns[c].width == 4 ? 4 : columns[c].width == 2 ? 2 : 1);
        columns[c].data = (const uint8_t *)columns[c].data + columns[c].step;
    }
}

LOOP uint64_t store_rows(const struct rows *r, uint64_t i)
{
    _Alignas(64) uint8_t row[64];
    struct row_column columns[MOST_COLUMNS];
    uint32_t filled = 0, words = 0;
    int64_t deadline = r->depth && r->count > r->depth ? now_ns() + r->timeout_ns : 0;
    uint64_t at = (r->start + i * r->stride) % r->span;

    memcpy(row, r->pattern, sizeof row);
    for (int wide = 1; wide >= 0; wide--) {
        for (uint32_t c = 0; c < r->column_count; c++) {
            if ((r->columns[c].width == 8) == wide) {
                columns[filled] = r->columns[c];
                columns[filled++].data = (const uint8_t *)r->columns[c].data + i * r->columns[c].step;
            }
        }
        words = wide ? filled : words;
    }
    mmio_direct_store_fence();
    for (; i < r->count; i++) {
        if (r->depth && i >= r->depth && !came(r->waits + (i - r->depth) * r->wait_step, deadline))
            break;
        fill_row(row, columns, words, filled);
        if (r->pieces)
            store_in_pieces(r->portal + at, row);
        else
            direct_store64(r->portal + at, row);
        at += r->stride;
        if (at >= r->span)
            at = 0;
    }
    mmio_direct_store_fence();
    return i;
}

int window_store_rows(struct window *w, uint64_t offset, uint64_t start, uint64_t stride, uint64_t span, int pieces,
                      const void *pattern, uint64_t count, const struct row_column *columns, uint32_t column_count,
                      uint64_t waits, uint64_t wait_step, uint64_t depth, int64_t timeout_ns, uint64_t *next)
{
    struct rows r = {NULL,  start,   stride,       span,  pieces,    pattern, count,
                     columns, column_count, waits, wait_step, depth,   timeout_ns};
    int status;

    if (!pieces && !cpu_has_movdir64b())
        return ACCESS_UNSUPPORTED;
    if ((stride | start) & 63)
        return ACCESS_MISALIGNED;
    if (column_count > MOST_COLUMNS)
        return ACCESS_INVALID;
    if (stride == 0 || span < stride || span % stride || start >= span)
        return ACCESS_INVALID;
    for (uint32_t c = 0; c < column_count; c++)
        if (columns[c].width > 8 || (columns[c].width & (columns[c].width - 1)) || columns[c].width == 0 ||
            columns[c].at > 64 - columns[c].width)
            return ACCESS_INVALID;
    status = window_enter(w, offset, span, 64, PAGE_WRITE);
    if (status)
        return status;
    r.portal = w->base + offset;
    WINDOW_ACCESS(w, ACCESS_GONE, *next = store_rows(&r, *next));
    return ACCESS_OK;
}

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

/* The columns in three groups, each with one kind of copy: counters of 8 bytes, values of 8 bytes, all others. What is
 * read from the row next is always 8 bytes wide, and so is what is written: the processor forwards nothing else. */
struct columns {
    struct row_column all[MOST_COLUMNS];
    uint64_t base[MOST_COLUMNS]; /* of narrow ones: the word around the first in it, without the fields of any */
    uint8_t follows[MOST_COLUMNS]; /* the word has the column before this one already */
    uint32_t counters, words, count;
};

static uint32_t kind_of(const struct row_column *c)
{
    return c->width != 8 ? 2 : c->data == NULL ? 0 : 1;
}

static uint64_t field_of(const struct row_column *c)
{
    return ((UINT64_C(1) << 8 * c->width) - 1) << 8 * (c->at & 7);
}

static void find_bases(struct columns *columns, const uint8_t *row)
{
    for (uint32_t n = columns->words; n < columns->count; n++) {
        uint64_t at = columns->all[n].at & ~7u;
        memcpy(&columns->base[n], row + at, 8);
        columns->follows[n] = 0;
        for (uint32_t other = columns->words; other < columns->count; other++) {
            if ((columns->all[other].at & ~7u) != at)
                continue;
            columns->base[n] &= ~field_of(&columns->all[other]);
            columns->follows[n] |= other < n;
        }
    }
}

static void sort_columns(struct columns *to, const struct rows *r, uint64_t i)
{
    to->count = 0;
    for (uint32_t kind = 0; kind < 3; kind++) {
        for (uint32_t c = 0; c < r->column_count; c++) {
            struct row_column column = r->columns[c];
            if (kind_of(&column) != kind)
                continue;
            if (column.data == NULL)
                column.first += i * column.step;
            else
                column.data = (const uint8_t *)column.data + i * column.step;
            to->all[to->count++] = column;
        }
        if (kind == 0)
            to->counters = to->count;
        if (kind == 1)
            to->words = to->count;
    }
}

static inline uint64_t next_narrow(struct row_column *c)
{
    uint64_t value = 0;

    if (c->data == NULL) {
        value = c->first & ((UINT64_C(1) << 8 * c->width) - 1);
        c->first += c->step;
        return value;
    }
    if (c->width == 4) {
        uint32_t word;
        memcpy(&word, c->data, 4);
        value = word;
    } else {
        memcpy(&value, c->data, c->width == 2 ? 2 : 1);
    }
    c->data = (const uint8_t *)c->data + c->step;
    return value;
}

/* Put the next value of each column into the row. */
static inline void fill_row(uint8_t *row, struct columns *columns)
{
    struct row_column *c = columns->all;
    uint32_t n = 0;

    for (; n < columns->counters; n++, c++) {
        memcpy(row + c->at, &c->first, 8);
        c->first += c->step;
    }
    for (; n < columns->words; n++, c++) {
        memcpy(row + c->at, c->data, 8);
        c->data = (const uint8_t *)c->data + c->step;
    }
    for (; n < columns->count; n++, c++) {
        uint64_t word = columns->base[n];
        if (columns->follows[n])
            memcpy(&word, row + (c->at & ~7u), 8);
        word |= next_narrow(c) << 8 * (c->at & 7);
        memcpy(row + (c->at & ~7u), &word, 8);
    }
}

LOOP uint64_t store_rows(const struct rows *r, uint64_t i)
{
    _Alignas(64) uint8_t row[64];
    struct columns columns;
    int64_t deadline = r->depth && r->count > r->depth ? now_ns() + r->timeout_ns : 0;
    uint64_t at = (r->start + i * r->stride) % r->span;

    memcpy(row, r->pattern, sizeof row);
    sort_columns(&columns, r, i);
    find_bases(&columns, row);
    mmio_direct_store_fence();
    for (; i < r->count; i++) {
        if (r->depth && i >= r->depth && !came(r->waits + (i - r->depth) * r->wait_step, deadline))
            break;
        fill_row(row, &columns);
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
            columns[c].at > 64 - columns[c].width || columns[c].at % columns[c].width)
            return ACCESS_INVALID;
    status = window_enter(w, offset, span, 64, PAGE_WRITE);
    if (status)
        return status;
    r.portal = w->base + offset;
    WINDOW_ACCESS(w, ACCESS_GONE, *next = store_rows(&r, *next));
    return ACCESS_OK;
}

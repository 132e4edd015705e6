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

/* One of the eight words of a row: what it is made of. */
struct word {
    enum { CONSTANT, VALUES, COUNTER, HALF, MIXED } kind;
    uint32_t shift;      /* of a half: where in the word */
    uint64_t base;       /* what does not come from a column; a counter's first value */
    uint64_t step;
    const uint8_t *data;
};

static uint64_t field_of(const struct row_column *c)
{
    return c->width == 8 ? UINT64_MAX : ((UINT64_C(1) << 8 * c->width) - 1) << 8 * (c->at & 7);
}

static void plan(struct word words[8], const struct rows *r)
{
    for (uint32_t n = 0; n < 8; n++) {
        struct word *w = &words[n];
        memset(w, 0, sizeof *w);
        memcpy(&w->base, (const uint8_t *)r->pattern + 8 * n, 8);
    }
    for (uint32_t n = 0; n < r->column_count; n++) {
        const struct row_column *c = &r->columns[n];
        struct word *w = &words[c->at / 8];
        w->base &= ~field_of(c);
        if (w->kind != CONSTANT) {
            w->kind = MIXED;
            continue;
        }
        w->data = c->data;
        w->step = c->step;
        w->shift = 8 * (c->at & 7);
        if (c->width == 8) {
            w->kind = c->data == NULL ? COUNTER : VALUES;
            w->base = c->first;
        } else {
            w->kind = c->width == 4 && c->data != NULL ? HALF : MIXED;
        }
    }
}

/* A word of several columns, or of narrow ones. */
static uint64_t mixed(const struct rows *r, uint32_t number, uint64_t value, uint64_t i)
{
    for (uint32_t n = 0; n < r->column_count; n++) {
        const struct row_column *c = &r->columns[n];
        uint64_t part = c->first + i * c->step;
        if (c->at / 8 != number)
            continue;
        if (c->data != NULL) {
            part = 0;
            memcpy(&part, (const uint8_t *)c->data + i * c->step, c->width);
        }
        value |= part << 8 * (c->at & 7) & field_of(c);
    }
    return value;
}

static inline uint64_t value_of(const struct word *w, const struct rows *r, uint32_t number, uint64_t i)
{
    uint64_t value;
    uint32_t half;

    switch (w->kind) {
    case CONSTANT:
        return w->base;
    case VALUES:
        memcpy(&value, w->data + i * w->step, 8);
        return value;
    case COUNTER:
        return w->base + i * w->step;
    case HALF:
        memcpy(&half, w->data + i * w->step, 4);
        return w->base | (uint64_t)half << w->shift;
    default:
        return mixed(r, number, w->base, i);
    }
}

LOOP uint64_t store_rows(const struct rows *r, uint64_t i)
{
    _Alignas(64) uint64_t row[8];
    struct word words[8];
    int64_t deadline = r->depth && r->count > r->depth ? now_ns() + r->timeout_ns : 0;
    uint64_t at = (r->start + i * r->stride) % r->span;

    plan(words, r);
    mmio_direct_store_fence();
    for (; i < r->count; i++) {
        if (r->depth && i >= r->depth && !came(r->waits + (i - r->depth) * r->wait_step, deadline))
            break;
        if (r->pieces) {
            uint8_t *to = r->portal + at;
#pragma GCC unroll 8
            for (uint32_t n = 0; n < 8; n++)
                mmio_store64(to + 8 * n, value_of(&words[n], r, n, i));
        } else {
#pragma GCC unroll 8
            for (uint32_t n = 0; n < 8; n++)
                row[n] = value_of(&words[n], r, n, i);
            direct_store64(r->portal + at, row);
        }
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

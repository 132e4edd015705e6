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
#elif defined(__aarch64__)
/* ST64B x0, [x8], which stores x0 to x7, spelled out likewise (Arm ARM DDI 0487, C6.2 "ST64B"). */
static inline void direct_store64(void *to, const void *from)
{
    uint64_t word[8];

    memcpy(word, from, sizeof word);
    register uint64_t x0 __asm__("x0") = word[0], x1 __asm__("x1") = word[1], x2 __asm__("x2") = word[2];
    register uint64_t x3 __asm__("x3") = word[3], x4 __asm__("x4") = word[4], x5 __asm__("x5") = word[5];
    register uint64_t x6 __asm__("x6") = word[6], x7 __asm__("x7") = word[7];
    register void *x8 __asm__("x8") = to;
    __asm__ volatile(".inst 0xf83f9100"
                     ::"r"(x0), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5), "r"(x6), "r"(x7), "r"(x8)
                     : "memory");
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

    if (!pieces && !cpu_has_store64())
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

enum { MOST_COLUMNS = 16, BLOCK = 64 };

struct rows {
    struct window *window;
    uint8_t *portal;
    uint64_t start, stride, span;
    int pieces;
    const void *pattern;
    uint64_t count;
    const struct row_column *columns;
    uint32_t column_count;
    uint64_t records, record_step, depth;
    int64_t timeout_ns;
};

/* The rows of a block, word by word: the n-th word of row i is at from[n] + 8 * i. What fills a whole word is read
 * where the caller has it, the rest is laid out here: a row is then eight loads and eight stores, whatever it holds. */
struct words {
    const uint8_t *from[8];
    uint64_t own[8][BLOCK];
};

static void lay_pattern(struct words *words, const uint8_t *pattern, uint64_t rows)
{
    for (int n = 0; n < 8; n++) {
        uint64_t word;
        memcpy(&word, pattern + 8 * n, 8);
        for (uint64_t i = 0; i < rows; i++)
            words->own[n][i] = word;
        words->from[n] = (const uint8_t *)words->own[n];
    }
}

#define LAY(type, value)                            \
    for (uint64_t i = 0; i < rows; i++) {           \
        type one = (type)(value);                   \
        memcpy(to + 8 * i, &one, sizeof one);       \
    }                                               \
    break
#define LAY_COUNTER(type) LAY(type, first + i * c->step)
#define LAY_VALUES(type)                                        \
    for (uint64_t i = 0; i < rows; i++)                         \
        memcpy(to + 8 * i, data + i * sizeof(type), sizeof(type)); \
    break

static void lay_counter(uint8_t *to, const struct row_column *c, uint64_t start, uint64_t rows)
{
    uint64_t first = c->first + start * c->step;

    switch (c->width) {
    case 1:
        LAY_COUNTER(uint8_t);
    case 2:
        LAY_COUNTER(uint16_t);
    case 4:
        LAY_COUNTER(uint32_t);
    default:
        LAY_COUNTER(uint64_t);
    }
}

static void lay_column(struct words *words, const struct row_column *c, uint64_t start, uint64_t rows)
{
    uint8_t *to = (uint8_t *)words->own[c->at / 8] + c->at % 8;
    const uint8_t *data = c->data;

    if (data == NULL) {
        lay_counter(to, c, start, rows);
        return;
    }
    data += start * c->width;
    switch (c->width) {
    case 1:
        LAY_VALUES(uint8_t);
    case 2:
        LAY_VALUES(uint16_t);
    case 4:
        LAY_VALUES(uint32_t);
    default:
        words->from[c->at / 8] = data;
    }
}

/* `rows` rows of the block from row i on, to `to` and onwards. */
static inline void put_rows(uint8_t *to, const struct words *words, uint64_t i, uint64_t rows, uint64_t stride)
{
    const uint8_t *const f0 = words->from[0], *const f1 = words->from[1], *const f2 = words->from[2];
    const uint8_t *const f3 = words->from[3], *const f4 = words->from[4], *const f5 = words->from[5];
    const uint8_t *const f6 = words->from[6], *const f7 = words->from[7];
    uint64_t word;

#define PUT(n)                        \
    memcpy(&word, f##n + 8 * i, 8);   \
    mmio_store64(to + 8 * n, word)
    for (uint64_t end = i + rows; i < end; i++, to += stride) {
        PUT(0);
        PUT(1);
        PUT(2);
        PUT(3);
        PUT(4);
        PUT(5);
        PUT(6);
        PUT(7);
    }
}

static void store_run(const struct rows *r, uint64_t at, const struct words *words, uint64_t i, uint64_t rows)
{
    _Alignas(64) uint8_t block[BLOCK * 64];

    if (r->pieces) {
        put_rows(r->portal + at, words, i, rows, r->stride);
        return;
    }
    /* Laid out whole before the first is stored: a load of 64 bytes waits for the narrow stores that it covers. */
    put_rows(block, words, i, rows, 64);
    for (uint64_t n = 0; n < rows; n++)
        direct_store64(r->portal + at + n * r->stride, block + 64 * n);
}

static inline uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The row that is next: count, or where the time was over or the window closed. */
LOOP uint64_t store_rows(const struct rows *r, uint64_t i)
{
    struct words words;
    int64_t deadline = r->depth && r->count > r->depth ? now_ns() + r->timeout_ns : 0;
    uint64_t at = (r->start + i % (r->span / r->stride) * r->stride) % r->span;

    if (i == 0 && r->records)
        memset((void *)(uintptr_t)r->records, 0, r->count * r->record_step);
    lay_pattern(&words, r->pattern, least(r->count - i, BLOCK));
    mmio_direct_store_fence();
    while (i < r->count && !atomic_load_explicit(&r->window->closed, memory_order_relaxed)) {
        uint64_t rows = least(r->count - i, BLOCK), run;
        for (uint32_t c = 0; c < r->column_count; c++)
            lay_column(&words, &r->columns[c], i, rows);
        for (uint64_t done = 0; done < rows; done += run, i += run) {
            run = least(rows - done, (r->span - at) / r->stride);
            if (r->depth && i + run > r->depth) {
                run = i < r->depth ? r->depth - i : 1;
                if (i >= r->depth && !came(r->records + (i - r->depth) * r->record_step, deadline)) {
                    mmio_direct_store_fence();
                    return i;
                }
            }
            store_run(r, at, &words, done, run);
            at += run * r->stride;
            if (at >= r->span)
                at = 0;
        }
    }
    mmio_direct_store_fence();
    return i;
}

int window_store_rows(struct window *w, uint64_t offset, uint64_t start, uint64_t stride, uint64_t span, int pieces,
                      const void *pattern, uint64_t count, const struct row_column *columns, uint32_t column_count,
                      uint64_t records, uint64_t record_step, uint64_t depth, int64_t timeout_ns, uint64_t *next)
{
    struct rows r = {w,       NULL,  start,        stride,  span,        pieces, pattern,   count,
                     columns, column_count, records, record_step, depth,  timeout_ns};
    int status;

    if (!pieces && !cpu_has_store64())
        return ACCESS_UNSUPPORTED;
    if ((stride | start) & 63)
        return ACCESS_MISALIGNED;
    if (column_count > MOST_COLUMNS || (depth && records == 0))
        return ACCESS_INVALID;
    if (stride == 0 || span < stride || span % stride || start >= span || start % stride)
        return ACCESS_INVALID;
    if (records && record_step && count > UINT64_MAX / record_step)
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
    return *next < count && atomic_load(&w->closed) ? ACCESS_CLOSED : ACCESS_OK;
}

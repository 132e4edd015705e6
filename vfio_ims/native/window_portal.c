/* SPDX-License-Identifier: Apache-2.0 */
/* 64-byte stores to a portal, and rows of other sizes in memory. The places are checked before the first store. */
#include <string.h>

#include "clock.h"
#include "cpu.h"
#include "mmio.h"
#include "store64.h"
#include "window_private.h"

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
 * where the caller has it, the rest is laid out here: a row is then eight loads and eight stores, whatever it holds.
 * Only whole words are laid out, since a load of a word waits for narrower stores to it. */
struct words {
    const uint8_t *from[8];
    uint64_t base[8];  /* the pattern */
    int narrow;        /* words 0, 5, 6 and 7 are the pattern's in all rows: they stay in registers */
    int counted;       /* then: word 1 is counter and nothing else, and */
    int sized;         /* the lower half of word 4 is a column of values, the upper half the pattern's: neither is laid out */
    uint64_t first, step;
    const uint8_t *sizes;
    uint64_t own[8][BLOCK];
};

/* Whether a word's only column has `width` bytes from its first on, and is one of values, or a counter. */
static int alone(const struct row_column *columns, uint32_t column_count, uint32_t word, uint32_t width, int values)
{
    int found = 0;

    for (uint32_t c = 0; c < column_count; c++)
        if (columns[c].at / 8 == word) {
            if (found || columns[c].at % 8 || columns[c].width != width || (columns[c].data != NULL) != values)
                return 0;
            found = 1;
        }
    return found;
}

static void lay_pattern(struct words *words, const uint8_t *pattern, uint64_t rows, const struct row_column *columns,
                        uint32_t column_count, int may_be_narrow)
{
    int used = 0;

    for (uint32_t c = 0; c < column_count; c++)
        used |= 1 << columns[c].at / 8;
    words->narrow = may_be_narrow && !(used & 0xe1);
    words->counted = words->narrow && alone(columns, column_count, 1, 8, 0);
    words->sized = words->narrow && alone(columns, column_count, 4, 4, 1);
    for (int n = 0; n < 8; n++) {
        memcpy(&words->base[n], pattern + 8 * n, 8);
        words->from[n] = (const uint8_t *)words->own[n];
        if (!(used >> n & 1) && (!words->narrow || (0x1e >> n & 1)))
            for (uint64_t i = 0; i < rows; i++)
                words->own[n][i] = words->base[n];
    }
}

/* A column's values in the bits from `shift` on of words that have `rest` in the others; of those that were laid
 * before where it is not the word's first column. */
#define LAY(type, value)                                                                    \
    if (first)                                                                              \
        for (uint64_t i = 0; i < rows; i++)                                                 \
            to[i] = rest | (uint64_t)(type)(value) << shift;                                \
    else                                                                                    \
        for (uint64_t i = 0; i < rows; i++)                                                 \
            to[i] = (to[i] & ~mask) | (uint64_t)(type)(value) << shift;                     \
    break

static void lay_narrow(uint64_t *to, uint64_t base, const struct row_column *c, const uint8_t *data, uint64_t start,
                       uint64_t rows, int first)
{
    uint64_t counted = c->first + start * c->step, step = c->step;
    uint32_t shift = c->at % 8 * 8;
    uint64_t mask = (UINT64_MAX >> (64 - 8 * c->width)) << shift, rest = base & ~mask;
    uint8_t byte;
    uint16_t half;
    uint32_t word;

    if (data) /* of at most 4 bytes: a whole word is read where it is */
        switch (c->width) {
        case 1:
            LAY(uint8_t, (memcpy(&byte, data + i, 1), byte));
        case 2:
            LAY(uint16_t, (memcpy(&half, data + 2 * i, 2), half));
        default:
            LAY(uint32_t, (memcpy(&word, data + 4 * i, 4), word));
        }
    else
        switch (c->width) {
        case 1:
            LAY(uint8_t, counted + i * step);
        case 2:
            LAY(uint16_t, counted + i * step);
        case 4:
            LAY(uint32_t, counted + i * step);
        default:
            LAY(uint64_t, counted + i * step);
        }
}

static void lay_columns(struct words *words, const struct row_column *columns, uint32_t column_count, uint64_t start,
                        uint64_t rows)
{
    int laid = 0;

    for (uint32_t n = 0; n < column_count; n++) {
        const struct row_column *c = &columns[n];
        uint32_t at = c->at / 8;
        const uint8_t *data = c->data ? (const uint8_t *)c->data + start * c->width : NULL;
        if (data && c->width == 8) {
            words->from[at] = data;
        } else if (at == 1 && words->counted) {
            words->first = c->first + start * c->step;
            words->step = c->step;
        } else if (at == 4 && words->sized) {
            words->sizes = data;
        } else {
            lay_narrow(words->own[at], words->base[at], c, data, start, rows, !(laid >> at & 1));
        }
        laid |= 1 << at;
    }
}

#define PUT(n)                        \
    memcpy(&word, f##n + 8 * i, 8);   \
    mmio_store64(to + 8 * n, word)

/* `rows` rows of the block from row i on, to `to` and onwards. */
static inline void put_rows(uint8_t *to, const struct words *words, uint64_t i, uint64_t rows, uint64_t stride)
{
    const uint8_t *const f0 = words->from[0], *const f1 = words->from[1], *const f2 = words->from[2];
    const uint8_t *const f3 = words->from[3], *const f4 = words->from[4], *const f5 = words->from[5];
    const uint8_t *const f6 = words->from[6], *const f7 = words->from[7];
    uint64_t word;

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

/* The same where words 0, 5, 6 and 7 are alike in all rows, as in most descriptors. */
__attribute__((always_inline)) static inline void put_narrow(uint8_t *to, const struct words *words, uint64_t i,
                                                             uint64_t rows, uint64_t stride, int counted, int sized)
{
    const uint8_t *const f1 = words->from[1], *const f2 = words->from[2], *const f3 = words->from[3];
    const uint8_t *const f4 = words->from[4], *const sizes = words->sizes;
    const uint64_t w0 = words->base[0], w5 = words->base[5], w6 = words->base[6], w7 = words->base[7];
    const uint64_t step = words->step, w4 = words->base[4] & ~(uint64_t)UINT32_MAX;
    uint64_t word, counter = words->first + i * step;
    uint32_t half;

    for (uint64_t end = i + rows; i < end; i++, to += stride) {
        mmio_store64(to, w0);
        if (counted) {
            mmio_store64(to + 8, counter);
            counter += step;
        } else {
            PUT(1);
        }
        PUT(2);
        PUT(3);
        if (sized) {
            memcpy(&half, sizes + 4 * i, 4);
            mmio_store64(to + 32, w4 | half);
        } else {
            PUT(4);
        }
        mmio_store64(to + 40, w5);
        mmio_store64(to + 48, w6);
        mmio_store64(to + 56, w7);
    }
}

static void lay_rows(uint8_t *to, const struct words *words, uint64_t i, uint64_t rows, uint64_t stride)
{
    if (words->counted && words->sized)
        put_narrow(to, words, i, rows, stride, 1, 1);
    else if (words->counted)
        put_narrow(to, words, i, rows, stride, 1, 0);
    else if (words->narrow)
        put_narrow(to, words, i, rows, stride, 0, words->sized);
    else
        put_rows(to, words, i, rows, stride);
}

static void store_run(const struct rows *r, uint64_t at, const struct words *words, uint64_t i, uint64_t rows)
{
    _Alignas(64) uint8_t block[BLOCK * 64];

    if (r->pieces) {
        lay_rows(r->portal + at, words, i, rows, r->stride);
        return;
    }
    /* Laid out whole before the first is stored: a load of 64 bytes waits for the narrow stores that it covers. */
    lay_rows(block, words, i, rows, 64);
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
    lay_pattern(&words, r->pattern, least(r->count - i, BLOCK), r->columns, r->column_count, 1);
    mmio_direct_store_fence();
    while (i < r->count && !atomic_load_explicit(&r->window->closed, memory_order_relaxed)) {
        uint64_t rows = least(r->count - i, BLOCK), run;
        lay_columns(&words, r->columns, r->column_count, i, rows);
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

/* Whether each column is aligned within rows of `size` bytes. */
static int columns_fit(const struct row_column *columns, uint32_t column_count, uint32_t size)
{
    if (column_count > MOST_COLUMNS)
        return 0;
    for (uint32_t c = 0; c < column_count; c++)
        if (columns[c].width > 8 || (columns[c].width & (columns[c].width - 1)) || columns[c].width == 0 ||
            columns[c].at > size - columns[c].width || columns[c].at % columns[c].width)
            return 0;
    return 1;
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
    if (!columns_fit(columns, column_count, 64) || (depth && records == 0))
        return ACCESS_INVALID;
    if (stride == 0 || span < stride || span % stride || start >= span || start % stride)
        return ACCESS_INVALID;
    if (records && record_step && count > UINT64_MAX / record_step)
        return ACCESS_INVALID;
    status = window_enter(w, offset, span, 64, PAGE_WRITE);
    if (status)
        return status;
    r.portal = w->base + offset;
    WINDOW_ACCESS(w, ACCESS_GONE, *next = store_rows(&r, *next));
    return *next < count && atomic_load(&w->closed) ? ACCESS_CLOSED : ACCESS_OK;
}

/* `rows` rows of the block from row i on, of so many words each, one behind the other. */
static inline void put_words(uint8_t *to, const struct words *words, uint64_t i, uint64_t rows, uint32_t count)
{
    const uint8_t *const f0 = words->from[0], *const f1 = words->from[1], *const f2 = words->from[2];
    uint64_t word;

    if (count == 3)
        for (uint64_t end = i + rows; i < end; i++, to += 24) {
            PUT(0);
            PUT(1);
            PUT(2);
        }
    else
        for (uint64_t end = i + rows; i < end; i++)
            for (uint32_t n = 0; n < count; n++, to += 8) {
                memcpy(&word, words->from[n] + 8 * i, 8);
                mmio_store64(to, word);
            }
}

LOOP void store_list(uint8_t *list, const uint8_t *pattern, uint32_t size, uint64_t count,
                     const struct row_column *columns, uint32_t column_count, uint64_t last)
{
    struct words words;
    uint64_t first = 0, rows, word;

    lay_pattern(&words, pattern, least(count, BLOCK), columns, column_count, 0);
    for (uint64_t i = 0; i < count; i += rows) {
        rows = least(count - i, BLOCK);
        lay_columns(&words, columns, column_count, i, rows);
        if (i + rows == count)
            words.own[0][rows - 1] |= last;
        if (i == 0) {
            first = words.own[0][0];
            for (uint32_t n = 1; n < size / 8; n++) {
                memcpy(&word, words.from[n], 8);
                mmio_store64(list + 8 * n, word);
            }
        }
        put_words(list + (i + !i) * size, &words, !i, rows - !i, size / 8);
    }
    mmio_store64(list, first);
    (void)mmio_load32(list);
}

int window_store_list(struct window *w, uint64_t offset, const void *pattern, uint32_t size, uint64_t count,
                      const struct row_column *columns, uint32_t column_count, uint64_t last)
{
    uint8_t whole[64] = {0};
    int status;

    if (size < 8 || size > sizeof whole || size % 8 || !columns_fit(columns, column_count, size))
        return ACCESS_INVALID;
    for (uint32_t c = 0; c < column_count; c++)
        if (columns[c].at == 0 && columns[c].width == 8)
            return ACCESS_INVALID;
    if (count == 0)
        return ACCESS_OK;
    if (count > UINT64_MAX / size)
        return ACCESS_BOUNDS;
    if (atomic_load(&w->diverted))
        return ACCESS_BUSY;
    status = window_enter(w, offset, count * size, 8, PAGE_WRITE);
    if (status)
        return status;
    memcpy(whole, pattern, size);
    WINDOW_ACCESS(w, ACCESS_GONE, store_list(w->base + offset, whole, size, count, columns, column_count, last));
    return ACCESS_OK;
}

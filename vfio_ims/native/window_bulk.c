/* SPDX-License-Identifier: Apache-2.0 */
/* Many registers in one call. Every range is checked before the first access, so that nothing is done by halves. */
#include <string.h>

#include "clock.h"
#include "mmio.h"
#include "window_private.h"

static int enter_block(struct window *w, uint64_t offset, uint64_t count, uint32_t width, enum page need)
{
    if (!mmio_is_width(width))
        return ACCESS_INVALID;
    if (count > UINT64_MAX / 8)
        return ACCESS_BOUNDS;
    return window_enter(w, offset, count * width, width, need);
}

#define EACH(bits, statement)                    \
    case bits / 8: {                             \
        for (uint64_t i = 0; i < count; i++)     \
            statement;                           \
        break;                                   \
    }

LOOP void read_all(const uint8_t *at, uint64_t count, uint32_t width, void *out)
{
    switch (width) {
        EACH(8, ((uint8_t *)out)[i] = mmio_load8(at + i))
        EACH(16, ((uint16_t *)out)[i] = mmio_load16(at + 2 * i))
        EACH(32, ((uint32_t *)out)[i] = mmio_load32(at + 4 * i))
        EACH(64, ((uint64_t *)out)[i] = mmio_load64(at + 8 * i))
    }
}

/* The source is the caller's buffer: of any alignment. */
#define FETCH_AND_STORE(bits)                                        \
    EACH(bits, {                                                     \
        uint##bits##_t value;                                        \
        memcpy(&value, data + i * sizeof value, sizeof value);       \
        mmio_store##bits(at + i * sizeof value, value);              \
    })

LOOP void write_all(uint8_t *at, uint64_t count, uint32_t width, const uint8_t *data)
{
    switch (width) {
        FETCH_AND_STORE(8)
        FETCH_AND_STORE(16)
        FETCH_AND_STORE(32)
        FETCH_AND_STORE(64)
    }
}

int window_read_block(struct window *w, uint64_t offset, uint64_t count, uint32_t width, void *out)
{
    int status = enter_block(w, offset, count, width, PAGE_READ);

    if (status)
        return status;
    WINDOW_ACCESS(w, ACCESS_GONE, read_all(w->base + offset, count, width, out));
    return ACCESS_OK;
}

int window_write_block(struct window *w, uint64_t offset, uint64_t count, uint32_t width, const void *data)
{
    int status = enter_block(w, offset, count, width, PAGE_WRITE);

    if (status)
        return status;
    WINDOW_ACCESS(w, ACCESS_GONE, write_all(w->base + offset, count, width, data));
    return ACCESS_OK;
}

LOOP void read_words(const uint8_t *table, uint64_t stride, const uint32_t *indices, uint64_t rows, uint32_t *out)
{
    for (uint64_t row = 0; row < rows; row++)
        out[row] = mmio_load32(table + indices[row] * stride);
}

/* The span of the rows' words, entered as one range: where part of it has no mapping, the caller reads them singly. */
static __attribute__((noinline)) int enter_rows(struct window *w, uint64_t offset, uint64_t stride,
                                                const uint32_t *indices, uint64_t rows)
{
    uint64_t near = UINT32_MAX, far = 0;

    for (uint64_t row = 0; row < rows; row++) {
        near = indices[row] < near ? indices[row] : near;
        far = indices[row] > far ? indices[row] : far;
    }
    if ((offset | stride) & 3)
        return ACCESS_MISALIGNED;
    if (offset > w->size || stride > w->size || (stride && far > w->size / stride))
        return ACCESS_BOUNDS;
    return window_enter(w, offset + near * stride, (far - near) * stride + 4, 4, PAGE_READ);
}

int window_read_table(struct window *w, uint64_t offset, uint64_t stride, const uint32_t *indices, uint64_t rows,
                      uint32_t *out)
{
    int status;

    if (rows == 0)
        return ACCESS_OK;
    status = enter_rows(w, offset, stride, indices, rows);
    if (status)
        return status;
    WINDOW_ACCESS(w, ACCESS_GONE, read_words(w->base + offset, stride, indices, rows, out));
    return ACCESS_OK;
}

LOOP int poll_until(struct window *w, const uint8_t *at, uint32_t width, uint64_t mask, uint64_t expected,
                      int64_t deadline, uint64_t *value)
{
    for (;;) {
        *value = mmio_load(at, width);
        if ((*value & mask) == expected || now_ns() >= deadline)
            return ACCESS_OK;
        if (atomic_load_explicit(&w->closed, memory_order_relaxed))
            return ACCESS_CLOSED;
        mmio_pause();
    }
}

int window_poll(struct window *w, uint64_t offset, uint32_t width, uint64_t mask, uint64_t expected,
                int64_t timeout_ns, uint64_t *value)
{
    int64_t deadline = now_ns() + timeout_ns;
    int status = enter_block(w, offset, 1, width, PAGE_READ);

    if (status)
        return status;
    WINDOW_ACCESS(w, ACCESS_GONE, status = poll_until(w, w->base + offset, width, mask, expected, deadline, value));
    return status;
}

LOOP void store_rows(uint8_t *table, uint64_t stride, const uint32_t *indices, uint64_t rows, const uint32_t *steps,
                       uint32_t step_count, const uint32_t *words, uint32_t words_per_row)
{
    for (uint64_t row = 0; row < rows; row++, words += words_per_row) {
        uint8_t *entry = table + indices[row] * stride;
        for (uint32_t step = 0; step < step_count; step++)
            mmio_store32(entry + steps[2 * step], words[steps[2 * step + 1]]);
    }
}

/* Rows whose words come in the order of their steps. Each place has a variable of its own, which stays in a register:
 * an array of them would be read again for every store. A stride that is a power of two is a shift: to multiply each
 * number costs a tenth of the time. */
#define PLACE(n) const uint64_t at##n = steps[2 * n];
#define STORE(n) mmio_store32(entry + at##n, words[n]);
#define DO1(what) what(0)
#define DO2(what) DO1(what) what(1)
#define DO3(what) DO2(what) what(2)
#define DO4(what) DO3(what) what(3)
#define DO5(what) DO4(what) what(4)
#define STORE_ROWS(n, place)                                              \
    for (uint64_t row = 0; row < rows; row++, words += n) {               \
        uint8_t *entry = table + (place);                                 \
        DO##n(STORE)                                                      \
    }
#define STORE_IN_ORDER(n)                                                 \
    case n: {                                                             \
        DO##n(PLACE)                                                      \
        if (stride & (stride - 1))                                        \
            STORE_ROWS(n, indices[row] * stride)                          \
        else if (stride)                                                  \
            STORE_ROWS(n, (uint64_t)indices[row] << shift)                \
        else                                                              \
            STORE_ROWS(n, 0)                                              \
        return 1;                                                         \
    }

LOOP int store_rows_in_order(uint8_t *table, uint64_t stride, const uint32_t *indices, uint64_t rows,
                             const uint32_t *steps, uint32_t step_count, const uint32_t *words)
{
    const int shift = stride ? __builtin_ctzll(stride) : 0;

    switch (step_count) {
        STORE_IN_ORDER(1)
        STORE_IN_ORDER(2)
        STORE_IN_ORDER(3)
        STORE_IN_ORDER(4)
        STORE_IN_ORDER(5)
    }
    return 0;
}

static int in_order(const uint32_t *steps, uint32_t step_count, uint32_t words_per_row)
{
    for (uint32_t step = 0; step < step_count; step++)
        if (steps[2 * step + 1] != step)
            return 0;
    return step_count == words_per_row;
}

LOOP void store_table(uint8_t *table, uint64_t stride, const uint32_t *indices, uint64_t rows, const uint32_t *steps,
                      uint32_t step_count, const uint32_t *words, uint32_t words_per_row)
{
    if (!in_order(steps, step_count, words_per_row) ||
        !store_rows_in_order(table, stride, indices, rows, steps, step_count, words))
        store_rows(table, stride, indices, rows, steps, step_count, words, words_per_row);
}

typedef uint32_t numbers __attribute__((vector_size(16)));

/* All rows' numbers or'ed together: none is above it. Sixteen at a time: a compare and branch each would cost as much as
 * the stores. */
static uint32_t bits_of(const uint32_t *indices, uint64_t rows)
{
    numbers some[4] = {{0}}, more[4];
    uint32_t rest = 0;

    for (; rows >= 16; rows -= 16, indices += 16) {
        memcpy(more, indices, sizeof more);
        for (int i = 0; i < 4; i++)
            some[i] |= more[i];
    }
    while (rows--)
        rest |= *indices++;
    some[0] |= some[1] | some[2] | some[3];
    return rest | some[0][0] | some[0][1] | some[0][2] | some[0][3];
}

/* The part of the window that the table's writes span, entered as one range; the steps and rows checked for it. */
static int enter_table(struct window *w, uint64_t offset, uint64_t stride, const uint32_t *indices, uint64_t rows,
                       const uint32_t *steps, uint32_t step_count, uint32_t words_per_row)
{
    uint64_t low = UINT32_MAX, high = 0, near = UINT32_MAX, far = 0;
    uint64_t bits;
    int status;

    for (uint32_t step = 0; step < step_count; step++) {
        uint64_t at = steps[2 * step];
        if (steps[2 * step + 1] >= words_per_row)
            return ACCESS_INVALID;
        if ((at | offset | stride) & 3)
            return ACCESS_MISALIGNED;
        low = at < low ? at : low;
        high = at > high ? at : high;
    }
    bits = bits_of(indices, rows);
    if (offset <= w->size && stride <= w->size && (!stride || bits <= w->size / stride) &&
        window_enter(w, offset + low, bits * stride + high - low + 4, 4, PAGE_WRITE) == ACCESS_OK)
        return ACCESS_OK;
    for (uint64_t row = 0; row < rows; row++) {
        near = indices[row] < near ? indices[row] : near;
        far = indices[row] > far ? indices[row] : far;
    }
    if (offset > w->size || stride > w->size || (stride && far > w->size / stride))
        return ACCESS_BOUNDS;
    /* One check for the whole span; if it meets a guard or a hole, the rows themselves still may not. */
    status = window_enter(w, offset + near * stride + low, (far - near) * stride + high - low + 4, 4, PAGE_WRITE);
    if (status != ACCESS_GUARDED && status != ACCESS_TRAPPED)
        return status;
    for (uint64_t row = 0; row < rows; row++)
        for (uint32_t step = 0; step < step_count; step++) {
            status = window_enter(w, offset + indices[row] * stride + steps[2 * step], 4, 4, PAGE_WRITE);
            if (status)
                return status;
            if (row + 1 < rows || step + 1 < step_count)
                window_leave(w); /* the last one stays entered */
        }
    return ACCESS_OK;
}

int window_write_table(struct window *w, uint64_t offset, uint64_t stride, const uint32_t *indices, uint64_t rows,
                       const uint32_t *steps, uint32_t step_count, const uint32_t *words, uint32_t words_per_row)
{
    int status;

    if (rows == 0 || step_count == 0)
        return ACCESS_OK;
    status = enter_table(w, offset, stride, indices, rows, steps, step_count, words_per_row);
    if (status)
        return status;
    WINDOW_ACCESS(w, ACCESS_GONE, store_table(w->base + offset, stride, indices, rows, steps, step_count, words, words_per_row));
    return ACCESS_OK;
}

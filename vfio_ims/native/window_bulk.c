/* SPDX-License-Identifier: Apache-2.0 */
/* Many registers in one call. Every range is checked before the first access, so that nothing is done by halves. */
#include <string.h>

#include "clock.h"
#include "cpu.h"
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

/* Loops stay out of the functions that call sigsetjmp, whose locals must not change under it. */
#define LOOP __attribute__((noinline)) static

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

/* The part of the window that the table's writes span, entered as one range; the steps and rows checked for it. */
static int enter_table(struct window *w, uint64_t offset, uint64_t stride, const uint32_t *indices, uint64_t rows,
                       const uint32_t *steps, uint32_t step_count, uint32_t words_per_row)
{
    uint64_t low = UINT32_MAX, high = 0, near = UINT32_MAX, far = 0;
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
    WINDOW_ACCESS(w, ACCESS_GONE, store_rows(w->base + offset, stride, indices, rows, steps, step_count, words, words_per_row));
    return ACCESS_OK;
}

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

LOOP void store_descriptors(uint8_t *portal, const uint8_t *data, uint64_t count, uint64_t stride, uint64_t span,
                              int pieces)
{
    uint64_t at = 0;

    mmio_direct_store_fence();
    for (uint64_t i = 0; i < count; i++, data += 64) {
        if (pieces)
            write_all(portal + at, 8, 8, data);
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

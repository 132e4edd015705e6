/* SPDX-License-Identifier: Apache-2.0 */
/* Commands that are laid out and stored by one call: what is checked is checked before the first. */
#include "commands.h"

#include <sched.h>
#include <string.h>

#include "clock.h"
#include "cpu.h"
#include "mmio.h"
#include "status.h"
#include "store64.h"
#include "window_private.h"

enum { SIZE = 16, LINE = 64, PER_LINE = LINE / SIZE, BLOCK = 64 };

int credit_pool_take(struct credit_pool *pool, uint64_t count)
{
    uint64_t left = __atomic_load_n(&pool->left, __ATOMIC_RELAXED);

    do {
        if (count > left)
            return 0;
    } while (!__atomic_compare_exchange_n(&pool->left, &left, left - count, 0, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
    return 1;
}

void credit_pool_give(struct credit_pool *pool, uint64_t count)
{
    __atomic_fetch_add(&pool->left, count, __ATOMIC_SEQ_CST);
}

void command_portal_own(struct command_portal *p)
{
    p->forks = fault_forks;
}

int command_portal_enter(struct command_portal *p)
{
    __atomic_fetch_add(&p->users, 1, __ATOMIC_SEQ_CST);
    if (!__atomic_load_n(&p->closed, __ATOMIC_SEQ_CST))
        return ACCESS_OK;
    command_portal_leave(p);
    return ACCESS_CLOSED;
}

void command_portal_leave(struct command_portal *p)
{
    __atomic_fetch_sub(&p->users, 1, __ATOMIC_SEQ_CST);
}

int command_portal_close(struct command_portal *p, int64_t timeout_ns)
{
    const int64_t end = now_ns() + timeout_ns;

    __atomic_store_n(&p->closed, 1, __ATOMIC_SEQ_CST);
    if (p->forks != fault_forks)
        return ACCESS_OK; /* a forked child does not have the threads that were using it */
    while (__atomic_load_n(&p->users, __ATOMIC_SEQ_CST)) {
        if (now_ns() >= end)
            return ACCESS_BUSY;
        sched_yield();
    }
    return ACCESS_OK;
}

struct commands {
    uint64_t second;
    const uint8_t *firsts, *column;
    uint32_t width; /* of the column; 0: there is none */
    uint32_t shift;
};

#define ALWAYS __attribute__((always_inline)) static inline

/* Value n of the column. `width` is known when this is compiled. */
ALWAYS uint64_t value(const uint8_t *column, uint32_t width, uint64_t n)
{
    uint16_t half;
    uint32_t word;

    switch (width) {
    case 1:
        return column[n];
    case 2:
        memcpy(&half, column + 2 * n, sizeof half);
        return half;
    case 4:
        memcpy(&word, column + 4 * n, sizeof word);
        return word;
    default:
        return 0;
    }
}

/* Whole lines, the first of them to `to`, the others each `stride` bytes on. */
ALWAYS void put_lines(uint8_t *to, uint64_t stride, const struct commands *c, uint32_t width, uint64_t lines)
{
    const uint8_t *firsts = c->firsts, *column = c->column;
    const uint64_t second = c->second;
    const uint32_t shift = c->shift;
    uint64_t first[PER_LINE];

    for (; lines; lines--, to += stride, firsts += sizeof first, column += width * PER_LINE) {
        memcpy(first, firsts, sizeof first);
        mmio_store64(to, first[0]);
        mmio_store64(to + 8, second | value(column, width, 0) << shift);
        mmio_store64(to + 16, first[1]);
        mmio_store64(to + 24, second | value(column, width, 1) << shift);
        mmio_store64(to + 32, first[2]);
        mmio_store64(to + 40, second | value(column, width, 2) << shift);
        mmio_store64(to + 48, first[3]);
        mmio_store64(to + 56, second | value(column, width, 3) << shift);
    }
}

static void lay_lines(uint8_t *to, uint64_t stride, struct commands *c, uint64_t lines)
{
    switch (c->width) {
    case 0:
        put_lines(to, stride, c, 0, lines);
        break;
    case 1:
        put_lines(to, stride, c, 1, lines);
        break;
    case 2:
        put_lines(to, stride, c, 2, lines);
        break;
    default:
        put_lines(to, stride, c, 4, lines);
    }
    c->firsts += 8 * PER_LINE * lines;
    c->column += c->width * PER_LINE * lines;
}

/* Stores in pieces are ordered each, mmio.h says how. */
static void fence(int pieces)
{
    if (!pieces)
        mmio_direct_store_fence();
}

static void store_line(uint8_t *portal, const uint64_t *line, int pieces)
{
    if (pieces)
        store_in_pieces(portal, (const uint8_t *)line);
    else
        direct_store64(portal, line);
}

LOOP void store_commands(uint8_t *portal, int pieces, struct commands c, uint64_t count)
{
    _Alignas(LINE) uint8_t block[BLOCK * LINE];
    _Alignas(LINE) uint64_t last[LINE / 8] = {0};
    uint64_t lines = count / PER_LINE, rest = count % PER_LINE;

    fence(pieces);
    if (pieces)
        lay_lines(portal, 0, &c, lines);
    else
        while (lines) {
            /* Laid out whole before the first is stored: a load of 64 bytes waits for the narrow stores that it covers. */
            uint64_t some = lines < BLOCK ? lines : BLOCK;
            lay_lines(block, LINE, &c, some);
            for (uint64_t i = 0; i < some; i++)
                direct_store64(portal, block + LINE * i);
            lines -= some;
        }
    for (uint64_t n = 0; n < rest; n++) {
        memcpy(&last[2 * n], c.firsts + 8 * n, 8);
        last[2 * n + 1] = c.second | value(c.column, c.width, n) << c.shift;
    }
    if (rest)
        store_line(portal, last, pieces);
    fence(pieces);
}

/* Enter the window for the portal. */
static int enter_window(const struct command_portal *p)
{
    struct window *w = p->window;

    if (!w || atomic_load(&w->diverted))
        return ACCESS_BUSY;
    if (!p->pieces && !cpu_has_store64())
        return ACCESS_UNSUPPORTED;
    return window_enter(w, p->offset, LINE, LINE, PAGE_WRITE);
}

static int store_in_window(const struct command_portal *p, struct credit_pool *pool, uint64_t second, const void *firsts,
                           const void *column, uint64_t count)
{
    struct window *w = p->window;
    struct commands c = {second, firsts, column, column ? p->column_width : 0, p->column_shift};
    int status;

    if (count == 0)
        return ACCESS_OK;
    if (column && (c.width == 0 || c.width > 4 || c.width == 3 || c.shift > 64 - 8 * c.width))
        return ACCESS_INVALID;
    status = enter_window(p);
    if (status)
        return status;
    if (!credit_pool_take(pool, count)) {
        window_leave(w);
        return ACCESS_BUSY;
    }
    WINDOW_ACCESS(w, ACCESS_GONE, store_commands(w->base + p->offset, p->pieces, c, count));
    return ACCESS_OK;
}

int command_portal_store(struct command_portal *p, struct credit_pool *pool, uint64_t second, const void *firsts,
                         const void *column, uint64_t count)
{
    int status = command_portal_enter(p);

    if (status)
        return status;
    status = store_in_window(p, pool, second, firsts, column, count);
    command_portal_leave(p);
    return status;
}

LOOP void store_acknowledgements(uint8_t *portal, const struct command_portal *p, uint64_t count)
{
    _Alignas(LINE) uint64_t line[LINE / 8] = {0};
    uint64_t some;

    fence(p->pieces);
    for (; count; count -= some) {
        some = count < p->most ? count : p->most;
        line[1] = p->acknowledge | (some - 1) << p->number_shift;
        store_line(portal, line, p->pieces);
    }
    fence(p->pieces);
}

/* Store the acknowledgements of `count` entries that were begun to be taken. */
static __attribute__((noinline)) int acknowledge(const struct command_portal *p, uint64_t count)
{
    struct window *w = p->window;
    int status = enter_window(p);

    if (status)
        return status;
    WINDOW_ACCESS(w, ACCESS_GONE, store_acknowledgements(w->base + p->offset, p, count));
    return ACCESS_OK;
}

static int64_t take_in_window(const struct command_portal *p, struct entry_ring *ring, int64_t limit, void *out)
{
    int status = p->most == 0 || p->number_shift > 63 || !p->pool ? ACCESS_INVALID : entry_ring_begin(ring);
    uint64_t found;

    if (status)
        return status;
    found = entry_ring_copy(ring, limit, out); /* before it is acknowledged: the device writes over it then */
    status = found ? acknowledge(p, found) : ACCESS_OK;
    entry_ring_end(ring, status ? 0 : found);
    if (status)
        return status;
    if (found)
        credit_pool_give(p->pool, found);
    return (int64_t)found;
}

int64_t command_portal_take(struct command_portal *p, struct entry_ring *ring, int64_t limit, void *out)
{
    int64_t found = command_portal_enter(p);

    if (found)
        return found;
    found = take_in_window(p, ring, limit, out);
    command_portal_leave(p);
    return found;
}

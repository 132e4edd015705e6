/* SPDX-License-Identifier: Apache-2.0 */
#include "row_plan.h"

#include <sched.h>
#include <string.h>

#include "clock.h"
#include "fault.h"
#include "memory.h"
#include "mmio.h"
#include "status.h"
#include "window_private.h"

enum { BARE = 1, OTHERS }; /* row_plan.bare */

static uint32_t load(const uint32_t *word)
{
    return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}

static void store(uint32_t *word, uint32_t value)
{
    __atomic_store_n(word, value, __ATOMIC_SEQ_CST);
}

void row_page_close(struct row_page *page)
{
    store(&page->open, 0);
    while (load(&page->busy))
        mmio_pause();
}

void row_plan_own(struct row_plan *p)
{
    p->forks = fault_forks;
}

void row_plan_free(struct row_plan *p)
{
    uint64_t had = __atomic_exchange_n(&p->taken, 0, __ATOMIC_SEQ_CST);

    __atomic_fetch_sub(&p->page->rows, had, __ATOMIC_SEQ_CST);
}

void row_plan_cancel(struct row_plan *p)
{
    row_plan_free(p);
    store(&p->under_way, 0);
}

/* For a moment, in which its book of a submission changes or is looked at: two threads may wait for the same one, or one
 * for what another submits. */
static void hold(struct row_plan *p)
{
    while (__atomic_exchange_n(&p->held, 1, __ATOMIC_SEQ_CST))
        sched_yield();
}

static void let_go(struct row_plan *p)
{
    store(&p->held, 0);
}

/* Its entries are taken, until its completions are. */
static void set_under_way(struct row_plan *p, uint32_t number)
{
    row_plan_free(p);
    p->taken = p->count;
    __atomic_fetch_add(&p->page->rows, p->count, __ATOMIC_SEQ_CST);
    store(&p->under_way, number);
}

int row_plan_begin(struct row_plan *p)
{
    int idle;

    if (p->forks != fault_forks)
        return ACCESS_FORKED;
    hold(p);
    idle = p->lost || !load(&p->under_way);
    if (idle) {
        p->last = p->last + 1 ? p->last + 1 : 1;
        p->lost = 0;
        p->stored = p->seen = 0;
        p->start = p->page->walk;
        set_under_way(p, p->last);
    }
    let_go(p);
    return idle ? ACCESS_OK : ACCESS_BUSY;
}

/* Rows were stored. Who waited meanwhile has found those complete that were stored before, and has ended it. */
static void go_on(struct row_plan *p)
{
    hold(p);
    if (!load(&p->under_way))
        set_under_way(p, p->last);
    let_go(p);
}

/* The rows that it has left; the page is taken. */
static int64_t store_rest(struct window *w, struct row_plan *p, uint64_t depth, int64_t timeout_ns)
{
    int status = window_store_rows(w, p->offset, p->start, 64, p->page->span, p->pieces, p->pattern, p->count,
                                   p->columns, p->column_count, p->records, p->record_step, depth, timeout_ns,
                                   &p->stored);

    p->page->walk = (p->start + p->stored * 64) % p->page->span;
    if (status == ACCESS_GONE)
        p->stored = p->count; /* some may have been */
    if (p->stored)
        go_on(p);
    else if (status)
        row_plan_cancel(p); /* refused before the first */
    return status ? status : (int64_t)p->stored;
}

static int64_t store_all(struct window *w, struct row_plan *p, uint64_t depth, int64_t timeout_ns)
{
    int status = row_plan_begin(p);

    return status ? status : store_rest(w, p, depth, timeout_ns);
}

/* Its arrays are read while the page is taken, and only then. */
static void wait_for_page(struct row_page *page)
{
    while (__atomic_exchange_n(&page->busy, 1, __ATOMIC_SEQ_CST))
        sched_yield();
}

int64_t row_plan_store(struct window *w, struct row_plan *p, uint64_t depth, int64_t timeout_ns)
{
    int64_t stored;

    if (p->forks != fault_forks)
        return ACCESS_FORKED;
    wait_for_page(p->page);
    if (load(&p->bare) != BARE)
        stored = store_all(w, p, depth, timeout_ns);
    else
        stored = load(&p->under_way) && !p->lost ? ACCESS_BUSY : ACCESS_INVALID;
    store(&p->page->busy, 0);
    return stored;
}

int64_t row_plan_store_rest(struct window *w, struct row_plan *p, uint64_t depth, int64_t timeout_ns)
{
    int64_t stored;

    if (p->forks != fault_forks)
        return ACCESS_FORKED;
    wait_for_page(p->page);
    stored = load(&p->bare) == BARE ? ACCESS_INVALID : store_rest(w, p, depth, timeout_ns);
    store(&p->page->busy, 0);
    return stored;
}

void row_plan_bare(struct row_plan *p)
{
    store(&p->bare, BARE);
    while (p->forks == fault_forks && load(&p->page->busy))
        sched_yield();
}

void row_plan_filled(struct row_plan *p, int own)
{
    store(&p->bare, own ? 0 : OTHERS);
}

/* As row_plan_again, with `columns` in the place of its own; NULL: those. `own_arrays`: whether those are read. */
static int64_t again(struct window *w, struct row_plan *p, const struct row_column *columns, int own_arrays)
{
    const struct row_column *own = p->columns;
    struct row_page *page = p->page;
    int64_t stored = ACCESS_BUSY;
    uint32_t bare;

    if (p->forks != fault_forks)
        return ACCESS_FORKED;
    if (p->ended || atomic_load(&w->diverted) || __atomic_exchange_n(&page->busy, 1, __ATOMIC_SEQ_CST))
        return ACCESS_BUSY;
    bare = load(&p->bare);
    if (load(&page->open) && page->rows + p->count <= page->depth && p->count &&
        (bare == 0 || (bare == BARE && !own_arrays))) {
        if (columns)
            p->columns = columns;
        stored = store_all(w, p, 0, 0);
        p->columns = own;
    }
    store(&page->busy, 0);
    return stored;
}

int64_t row_plan_again(struct window *w, struct row_plan *p)
{
    return again(w, p, NULL, 1);
}

int64_t row_plan_again_with(struct window *w, struct row_plan *p, const void *first, const void *second,
                            const void *third)
{
    const void *const given[] = {first, second, third};
    struct row_column columns[16];
    int own = 0;

    if (p->column_count > 16)
        return ACCESS_INVALID;
    memcpy(columns, p->columns, p->column_count * sizeof *columns);
    for (uint32_t n = 0; n + 1 < p->column_count; n++) { /* the last is the counter of the records */
        if (n < 3 && given[n])
            columns[n].data = given[n];
        else
            own = 1;
    }
    return again(w, p, columns, own);
}

/* The first of `count` statuses that is not `expected`, or their number. */
static uint64_t first_other(const uint8_t *statuses, uint64_t count, uint8_t expected)
{
    const uint64_t wanted = expected * 0x0101010101010101ull;
    uint64_t i = 0, word;

    for (; i + 8 <= count; i += 8) {
        memcpy(&word, statuses + i, 8);
        if (word != wanted)
            break;
    }
    while (i < count && statuses[i] == expected)
        i++;
    return i;
}

/* row_plan_finish's answer at this moment. */
static int64_t look(struct row_plan *p, uint8_t expected)
{
    const uint64_t count = p->stored;

    if (load(&p->under_way)) {
        p->seen += memory_collect(p->records + p->seen * p->record_step, p->record_step, count - p->seen, 0,
                                  p->statuses + p->seen);
        if (count == 0 || p->seen < count)
            return ACCESS_BUSY;
        row_plan_free(p);
        store(&p->under_way, 0);
    }
    return count ? (int64_t)first_other(p->statuses, count, expected) : ACCESS_INVALID;
}

int64_t row_plan_finish(struct row_plan *p, uint32_t expected, int64_t timeout_ns)
{
    int64_t deadline = 0, answer;

    if (p->forks != fault_forks)
        return ACCESS_FORKED;
    for (;;) {
        hold(p);
        answer = look(p, (uint8_t)expected);
        let_go(p);
        if (answer != ACCESS_BUSY || timeout_ns == 0)
            return answer;
        if (deadline == 0)
            deadline = now_ns() + timeout_ns;
        else if (now_ns() >= deadline)
            return answer;
        mmio_pause();
    }
}

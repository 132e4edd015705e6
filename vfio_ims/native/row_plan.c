/* SPDX-License-Identifier: Apache-2.0 */
#include "row_plan.h"

#include <string.h>

#include "fault.h"
#include "memory.h"
#include "mmio.h"
#include "status.h"
#include "window_private.h"

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

int row_plan_begin(struct row_plan *p)
{
    uint32_t idle = 0;
    uint32_t number = p->last + 1 ? p->last + 1 : 1;

    if (p->forks != fault_forks)
        return ACCESS_FORKED;
    if (p->lost)
        store(&p->under_way, 0);
    if (!__atomic_compare_exchange_n(&p->under_way, &idle, number, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        return ACCESS_BUSY;
    p->last = number;
    p->lost = 0;
    p->stored = p->seen = 0;
    p->start = p->page->walk;
    p->taken = p->count;
    __atomic_fetch_add(&p->page->rows, p->count, __ATOMIC_SEQ_CST);
    return ACCESS_OK;
}

int64_t row_plan_store_rest(struct window *w, struct row_plan *p, uint64_t depth, int64_t timeout_ns)
{
    int status = window_store_rows(w, p->offset, p->start, 64, p->page->span, p->pieces, p->pattern, p->count,
                                   p->columns, p->column_count, p->records, p->record_step, depth, timeout_ns,
                                   &p->stored);

    p->page->walk = (p->start + p->stored * 64) % p->page->span;
    if (status == ACCESS_OK)
        return (int64_t)p->stored;
    if (status == ACCESS_GONE)
        p->stored = p->count; /* some may have been */
    else if (p->stored == 0)
        row_plan_cancel(p); /* refused before the first */
    return status;
}

int64_t row_plan_store(struct window *w, struct row_plan *p, uint64_t depth, int64_t timeout_ns)
{
    int status = row_plan_begin(p);

    return status ? status : row_plan_store_rest(w, p, depth, timeout_ns);
}

/* As row_plan_again, with `columns` in the place of its own; NULL: those. */
static int64_t again(struct window *w, struct row_plan *p, const struct row_column *columns)
{
    const struct row_column *own = p->columns;
    struct row_page *page = p->page;
    int64_t stored = ACCESS_BUSY;

    if (p->forks != fault_forks)
        return ACCESS_FORKED;
    if (p->ended || atomic_load(&w->diverted) || __atomic_exchange_n(&page->busy, 1, __ATOMIC_SEQ_CST))
        return ACCESS_BUSY;
    if (load(&page->open) && page->rows + p->count <= page->depth) {
        if (columns)
            p->columns = columns;
        stored = row_plan_store(w, p, 0, 0);
        p->columns = own;
    }
    store(&page->busy, 0);
    return stored;
}

int64_t row_plan_again(struct window *w, struct row_plan *p)
{
    return again(w, p, NULL);
}

int64_t row_plan_again_with(struct window *w, struct row_plan *p, const void *first, const void *second,
                            const void *third)
{
    const void *const given[] = {first, second, third};
    struct row_column columns[16];

    if (p->column_count > 16)
        return ACCESS_INVALID;
    memcpy(columns, p->columns, p->column_count * sizeof *columns);
    for (uint32_t n = 0; n < 3; n++)
        if (given[n] && n < p->column_count)
            columns[n].data = given[n];
    return again(w, p, columns);
}

int64_t row_plan_finish(struct row_plan *p, uint32_t expected, int64_t timeout_ns)
{
    uint32_t number = load(&p->under_way);
    uint64_t count = p->stored, i = 0, word, wanted = (uint8_t)expected * 0x0101010101010101ull;

    if (p->forks != fault_forks)
        return ACCESS_FORKED;
    if (count == 0)
        return ACCESS_INVALID;
    if (number) {
        uint64_t seen = p->seen;
        seen += memory_collect(p->records + seen * p->record_step, p->record_step, count - seen, timeout_ns,
                               p->statuses + seen);
        p->seen = seen;
        if (seen < count)
            return ACCESS_BUSY;
        row_plan_free(p);
        /* Another thread may have taken them too, and submitted again: that one stays under way. */
        __atomic_compare_exchange_n(&p->under_way, &number, 0, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
    for (; i + 8 <= count; i += 8) {
        memcpy(&word, p->statuses + i, 8);
        if (word != wanted)
            break;
    }
    while (i < count && p->statuses[i] == (uint8_t)expected)
        i++;
    return (int64_t)i;
}

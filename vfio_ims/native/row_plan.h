/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VFIO_IMS_ROW_PLAN_H
#define VFIO_IMS_ROW_PLAN_H

#include <stdint.h>

#include "window.h"

/* A portal's page, shared by all plans of its queue. Who does anything else with the queue closes it before. */
struct row_page {
    uint64_t walk;  /* where the next row goes */
    uint64_t span;  /* rows of 64 bytes go round it */
    uint64_t rows;  /* entries of the queue that rows of plans have */
    uint64_t depth; /* while it is open: entries that they may have */
    uint32_t open;  /* plans may be submitted again without asking anybody */
    uint32_t busy;  /* one is */
};

/* Rows that are stored to a portal as often as wanted, and the book of it. Storing and taking completions are one call
 * each, book included: no signal handler of Python's comes between what the device has and what is booked. */
struct row_plan {
    uint8_t pattern[64];
    const struct row_column *columns;
    uint32_t column_count;
    int32_t pieces;
    struct row_page *page;
    uint64_t offset;               /* the page's place in its window */
    uint64_t count;                /* rows */
    uint64_t records, record_step; /* where they complete */
    uint8_t *statuses;             /* the first byte of each record, once it was seen: room for `count` */
    uint64_t start, stored, seen;  /* of the last submission: row 0's place, rows stored, completions seen */
    uint64_t taken;                /* entries of the queue that it has */
    uint32_t forks;
    uint32_t last;                 /* the number of the last submission */
    uint32_t under_way;            /* that number, until all completions have been taken; 0 */
    uint32_t lost;                 /* a reset has ended it: it may be submitted again all the same */
    uint32_t ended;                /* its session is closed */
    uint32_t bare;                 /* not 0: its arrays are not there, or others are for one time */
    uint32_t held;                 /* a thread looks at the book of a submission, or changes it */
};

/* Refuse further submissions; waits for one that is under way. */
void row_page_close(struct row_page *page);
/* A plan is ready: it belongs to this process from now on. */
void row_plan_own(struct row_plan *p);
/* Book a submission whose rows another part stores, which sets `stored`. 0, or ACCESS_BUSY. */
int row_plan_begin(struct row_plan *p);
/* Nothing is under way: no row was stored. */
void row_plan_cancel(struct row_plan *p);
/* Its rows have completed, or were lost: they are no entries of the queue any more. */
void row_plan_free(struct row_plan *p);
/* Its arrays go: none of its rows is stored from now on with what they hold; waits for who does. Until it is
 * filled: with its `own`, or with others, with which row_plan_again does not store it. */
void row_plan_bare(struct row_plan *p);
void row_plan_filled(struct row_plan *p, int own);
/* Store all rows, at most `depth` of them under way (0: no limit). How many are stored, less where the time was over; or
 * an access_status: ACCESS_BUSY where the last submission is still under way, ACCESS_INVALID where its arrays went. */
int64_t row_plan_store(struct window *w, struct row_plan *p, uint64_t depth, int64_t timeout_ns);
/* Store the rows that it has left. */
int64_t row_plan_store_rest(struct window *w, struct row_plan *p, uint64_t depth, int64_t timeout_ns);
/* Store all rows where nothing speaks against it: the page is open and has room, the window's accesses are not
 * diverted. Their number; anything else: nothing was done, or what row_plan_store says. */
int64_t row_plan_again(struct window *w, struct row_plan *p);
/* The same with other values in the first three columns, for this time: NULL where a column keeps its own. */
int64_t row_plan_again_with(struct window *w, struct row_plan *p, const void *first, const void *second,
                            const void *third);
/* Wait for the completions of the rows that were stored and take them. The first whose status is not `expected`, or
 * their number; ACCESS_BUSY where the time was over (`seen` have come), ACCESS_INVALID where nothing was ever stored.
 * Once they were taken the same answer comes again. */
int64_t row_plan_finish(struct row_plan *p, uint32_t expected, int64_t timeout_ns);

#endif

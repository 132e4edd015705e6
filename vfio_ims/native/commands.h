/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VFIO_IMS_COMMANDS_H
#define VFIO_IMS_COMMANDS_H

#include <stdint.h>

#include "ring.h"
#include "window.h"

/* What a device has room for, kept in software: each thing that is sent takes one, and gives it back later. */
struct credit_pool {
    uint64_t left;
};

/* 1, or 0 where there are not so many: none is taken then. From any thread. */
int credit_pool_take(struct credit_pool *pool, uint64_t count);
void credit_pool_give(struct credit_pool *pool, uint64_t count);

/* A place in a window that takes commands of 16 bytes, four in each store of 64, which zeros fill up. A command is two
 * words of 64 bits. */
struct command_portal {
    struct window *window; /* NULL: its accesses are made elsewhere */
    uint64_t offset;
    int32_t pieces;        /* each store as eight: models only */
    uint32_t column_width; /* of the column of values in the second word: 1, 2 or 4 bytes, */
    uint32_t column_shift; /* and where they begin: bits */
    uint32_t number_shift; /* where an acknowledgement has how many it acknowledges, less 1 */
    uint64_t acknowledge;  /* its second word but for that; the first is 0 */
    uint64_t most;         /* that one acknowledges */
    struct credit_pool *pool; /* what an entry that was taken gives a credit to */
    uint32_t users;  /* calls that are using it, */
    uint32_t closed; /* and none may any more: see command_portal_close */
    uint32_t forks;  /* of the process that uses it */
};

/* The portal is this process's: to be called before its first use. */
void command_portal_own(struct command_portal *p);
/* Begin a use of the portal, and end it: 0, or ACCESS_CLOSED, and then there is none to end. */
int command_portal_enter(struct command_portal *p);
void command_portal_leave(struct command_portal *p);
/* No use begins from now on. 0 once those that had begun have ended: nothing is stored after that; or ACCESS_BUSY after
 * `timeout_ns`. */
int command_portal_close(struct command_portal *p, int64_t timeout_ns);

/* Store `count` commands. The first word of the i-th is the i-th of `firsts`, 64 bits each; the second is `second`, with
 * the i-th of `column` or'ed to it (NULL: as it is). Each takes a credit of `pool`. 0 or an access_status, and then
 * nothing was stored nor taken; but for ACCESS_GONE: all credits are taken, some commands may have been stored.
 * ACCESS_BUSY: there are not so many credits, or the window's accesses go elsewhere. ACCESS_CLOSED: it was closed. */
int command_portal_store(struct command_portal *p, struct credit_pool *pool, uint64_t second, const void *firsts,
                         const void *column, uint64_t count);
/* Copy the entries of `ring` that are new, up to `limit`, to `out`, which has room for all; acknowledge them, take them,
 * and give as many credits to the portal's pool. How many; or an access_status, and then nothing was taken nor given, nor
 * acknowledged but for ACCESS_GONE. ACCESS_BUSY: another thread takes some, or the window's accesses go elsewhere. Never
 * waits. */
int64_t command_portal_take(struct command_portal *p, struct entry_ring *ring, int64_t limit, void *out);

#endif

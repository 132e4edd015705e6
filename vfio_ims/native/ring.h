/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VFIO_IMS_RING_H
#define VFIO_IMS_RING_H

#include <stdint.h>

/* A ring of entries in our memory that a device fills in turn. Bits of one byte of an entry say that it is new: all
 * are 1 on the first lap, 0 on the next, and so on. */
struct entry_ring {
    const char *start;
    uint64_t next;    /* the entry that was not taken yet */
    uint64_t taken;   /* how many were, in all */
    uint32_t entries;
    uint32_t size;    /* bytes of each */
    uint32_t flag_at; /* the byte with the bits */
    uint32_t forks;
    uint32_t busy;    /* some are being taken */
    uint32_t closed;  /* the memory goes */
    uint32_t mask;
    uint32_t ones;    /* whether the next entry has all of these bits once it is new, or none */
};

/* It belongs to this process from now on. */
void entry_ring_own(struct entry_ring *r);
/* As before the first lap. */
void entry_ring_restart(struct entry_ring *r);
/* Start to take entries: 0, and then entry_ring_end() is due; ACCESS_BUSY: another thread does; ACCESS_FORKED. */
int entry_ring_begin(struct entry_ring *r);
/* Copy what is new, in turn, up to `limit` entries, to `out`, which has room for all: how many. Once begun. Never waits. */
uint64_t entry_ring_copy(const struct entry_ring *r, int64_t limit, void *out);
/* The next `count` entries, which are new, were taken. */
void entry_ring_end(struct entry_ring *r, uint64_t count);

#endif

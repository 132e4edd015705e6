/* SPDX-License-Identifier: Apache-2.0 */
#include "ring.h"

#include <string.h>

#include "fault.h"
#include "mmio.h"
#include "status.h"

void entry_ring_own(struct entry_ring *r)
{
    r->forks = fault_forks;
    entry_ring_restart(r);
}

void entry_ring_restart(struct entry_ring *r)
{
    r->next = 0;
    r->ones = 1;
}

int entry_ring_begin(struct entry_ring *r)
{
    if (r->forks != fault_forks)
        return ACCESS_FORKED;
    return __atomic_exchange_n(&r->busy, 1, __ATOMIC_SEQ_CST) ? ACCESS_BUSY : ACCESS_OK;
}

#define ALWAYS __attribute__((always_inline)) static inline
#define FLAG(n) (uint32_t)*(const volatile uint8_t *)(flag + (n)*size)
#define JOINT(op) (FLAG(0) op FLAG(1) op FLAG(2) op FLAG(3) op FLAG(4) op FLAG(5) op FLAG(6) op FLAG(7))

/* How many of `count` flags, `size` bytes apart, have all bits of the mask, or none of them where `ones` is 0: up to the
 * first that has not. Eight are joined before they are compared. */
ALWAYS uint64_t run(const char *flag, uint64_t size, uint64_t count, uint32_t mask, int ones)
{
    const uint32_t wanted = ones ? mask : 0;
    uint64_t i = 0;

    for (; i + 8 <= count && ((ones ? JOINT(&) : JOINT(|)) & mask) == wanted; i += 8)
        flag += 8 * size;
    for (; i < count && (FLAG(0) & mask) == wanted; i++)
        flag += size;
    return i;
}

/* Copy what is new of `count` entries from entry `first` on: how many. */
static uint64_t copy(const struct entry_ring *r, uint64_t first, uint64_t count, int ones, char *out)
{
    const char *from = r->start + first * r->size;
    uint64_t found = r->size == 16 ? run(from + r->flag_at, 16, count, r->mask, ones)
                                   : run(from + r->flag_at, r->size, count, r->mask, ones);

    mmio_after_load(); /* what the entries hold is loaded after their flags */
    memcpy(out, from, found * r->size);
    return found;
}

uint64_t entry_ring_copy(const struct entry_ring *r, int64_t limit, void *out)
{
    uint64_t most = limit < 0 ? 0 : (uint64_t)limit, ahead = r->entries - r->next, found;

    if (__atomic_load_n(&r->closed, __ATOMIC_SEQ_CST))
        return 0;
    if (most > r->entries)
        most = r->entries;
    found = copy(r, r->next, most < ahead ? most : ahead, r->ones, out);
    if (found == ahead && found < most)
        found += copy(r, 0, most - found, !r->ones, (char *)out + found * r->size);
    return found;
}

void entry_ring_end(struct entry_ring *r, uint64_t count)
{
    r->taken += count;
    r->next += count;
    if (r->next >= r->entries) {
        r->next -= r->entries;
        r->ones = !r->ones;
    }
    __atomic_store_n(&r->busy, 0, __ATOMIC_RELEASE);
}

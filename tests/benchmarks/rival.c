/* SPDX-License-Identifier: Apache-2.0 */
/* The rivals in C: what a careful C programmer would write for the same job, on the same memory. */
#include <errno.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <unistd.h>

uint32_t rival_read32(uintptr_t base, uint64_t offset)
{
    return *(volatile uint32_t *)(base + offset);
}

void rival_write32(uintptr_t base, uint64_t offset, uint32_t value)
{
    *(volatile uint32_t *)(base + offset) = value;
}

/* Entries of 16 bytes: masked, address, data, control; `words` has these five a row, in that order. */
void rival_table(uintptr_t base, const uint32_t *indices, uint64_t count, const uint32_t *words)
{
    for (uint64_t n = 0; n < count; n++, words += 5) {
        volatile uint32_t *entry = (volatile uint32_t *)(base + indices[n] * 16ull);
        entry[3] = words[0];
        entry[0] = words[1];
        entry[1] = words[2];
        entry[2] = words[3];
        entry[3] = words[4];
    }
}

/* Drain what is ready; the event's data is the eventfd. Returns how many. */
int rival_drain(int epoll, struct epoll_event *events, int most, uint64_t *counts)
{
    int found = epoll_wait(epoll, events, most, 0);
    for (int n = 0; n < found; n++)
        if (read(events[n].data.fd, &counts[n], 8) != 8)
            return -errno;
    return found;
}

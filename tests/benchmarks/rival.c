/* SPDX-License-Identifier: Apache-2.0 */
/* The rivals in C: what a careful C programmer would write for the same job, on the same memory. */
#include <errno.h>
#include <stdint.h>
#include <string.h>
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

/* Copy descriptors of 64 bytes, eight stores each, round a page; their completion records are cleared before. */
struct descriptor {
    uint32_t who, what;
    uint64_t record, source, destination;
    uint32_t size;
    uint16_t handle, extra;
    uint8_t specific[24];
};

void rival_descriptors(uintptr_t portal, const uint64_t *destinations, const uint64_t *sources, const uint32_t *sizes,
                       uintptr_t records, uint64_t iova, uint64_t count)
{
    uint64_t at = 0;

    memset((void *)records, 0, count * 32);
    for (uint64_t i = 0; i < count; i++) {
        struct descriptor one = {.what = 0x0300000c, .record = iova + i * 32, .source = sources[i],
                                 .destination = destinations[i], .size = sizes[i]};
        volatile uint64_t *to = (volatile uint64_t *)(portal + at);
        const uint64_t *from = (const uint64_t *)&one;
        for (int n = 0; n < 8; n++)
            to[n] = from[n];
        at = (at + 64) % 4096;
    }
}

/* The status byte of each record, once it is there. */
void rival_collect(uintptr_t records, uint64_t count, uint8_t *out)
{
    for (uint64_t i = 0; i < count; i++) {
        volatile uint8_t *status = (volatile uint8_t *)(records + i * 32);
        while (*status == 0)
            ;
        out[i] = *status;
    }
}

void rival_copy(uintptr_t to, uintptr_t from, uint64_t size)
{
    memcpy((void *)to, (const void *)from, size);
}

/* A linked list of 24-byte elements, as Linux' dw-edma stores one; the first becomes valid last, then the doorbell. */
void rival_list(uintptr_t list, const uint64_t *sources, const uint64_t *targets, const uint32_t *sizes, uint64_t count,
                uintptr_t doorbell)
{
    for (uint64_t i = 0; i < count; i++) {
        uintptr_t at = list + i * 24;
        *(volatile uint32_t *)at = i == 0 ? 0 : i + 1 == count ? 0x19 : 1;
        *(volatile uint32_t *)(at + 4) = sizes[i];
        *(volatile uint64_t *)(at + 8) = sources[i];
        *(volatile uint64_t *)(at + 16) = targets[i];
    }
    *(volatile uint32_t *)list = count == 1 ? 0x19 : 1;
    (void)*(volatile uint32_t *)list;
    *(volatile uint32_t *)doorbell = 0;
}

/* Four elements of 16 bytes in each store of 64 to a DLB's port; the last store is filled up with nothing. */
struct element {
    uint64_t data;
    uint16_t opaque;
    uint8_t queue, kind;
    uint16_t flow;
    uint8_t flags, command;
};

void rival_enqueue(uintptr_t port, const uint64_t *data, const uint16_t *flows, uint8_t queue, uint64_t count)
{
    for (uint64_t i = 0; i < count; i += 4) {
        struct element four[4] = {{0}};
        volatile uint64_t *to = (volatile uint64_t *)port;
        const uint64_t *from = (const uint64_t *)four;
        for (uint64_t n = 0; n < 4 && i + n < count; n++) {
            four[n].data = data[i + n];
            four[n].queue = queue;
            four[n].flow = flows[i + n];
            four[n].command = 8;
        }
        for (int n = 0; n < 8; n++)
            to[n] = from[n];
    }
}

/* Entries of a consumer queue while their generation is new; their tokens go back by one command. Returns how many. */
uint64_t rival_dequeue(uintptr_t ring, uint8_t generation, uint64_t most, uint8_t *out, uintptr_t port)
{
    uint64_t found = 0;
    struct element four[4] = {{0}};
    volatile uint64_t *to = (volatile uint64_t *)port;
    const uint64_t *from = (const uint64_t *)four;

    while (found < most && (*(volatile uint8_t *)(ring + found * 16 + 15) & 1) == generation) {
        memcpy(out + found * 16, (const void *)(ring + found * 16), 16);
        found++;
    }
    four[0].flow = found - 1;
    four[0].command = 1;
    for (int n = 0; n < 8; n++)
        to[n] = from[n];
    return found;
}

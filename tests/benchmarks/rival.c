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

/* 64 bytes as eight stores. Callers make words, not structures of smaller fields: these, read as words, the compiler may
 * take for unused. Without a loop the words stay in registers. */
static inline void store64(uintptr_t at, const uint64_t words[8])
{
    volatile uint64_t *to = (volatile uint64_t *)at;

    to[0] = words[0];
    to[1] = words[1];
    to[2] = words[2];
    to[3] = words[3];
    to[4] = words[4];
    to[5] = words[5];
    to[6] = words[6];
    to[7] = words[7];
}

/* Copy descriptors of 64 bytes, eight stores each, round a page; their completion records are cleared before. */
void rival_descriptors(uintptr_t portal, const uint64_t *destinations, const uint64_t *sources, const uint32_t *sizes,
                       uintptr_t records, uint64_t iova, uint64_t count)
{
    uint64_t at = 0;

    memset((void *)records, 0, count * 32);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t one[8] = {0x0300000cull << 32, iova + i * 32, sources[i], destinations[i], sizes[i]};
        store64(portal + at, one);
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

/* An element of 16 bytes: its data, then opaque (16 bits), queue (8), kind (8), flow (16), flags (8), command (8). */
static inline uint64_t element(uint64_t queue, uint64_t flow, uint64_t command)
{
    return queue << 16 | flow << 32 | command << 56;
}

/* Four elements in each store of 64 to a DLB's port; the last store is filled up with nothing. */
void rival_enqueue(uintptr_t port, const uint64_t *data, const uint16_t *flows, uint8_t queue, uint64_t count)
{
    for (uint64_t i = 0; i < count; i += 4) {
        uint64_t four[8] = {0};
        for (uint64_t n = 0; n < 4 && i + n < count; n++) {
            four[2 * n] = data[i + n];
            four[2 * n + 1] = element(queue, flows[i + n], 8);
        }
        store64(port, four);
    }
}

/* Entries of a consumer queue while their generation is new; their tokens go back by one command. Returns how many. */
uint64_t rival_dequeue(uintptr_t ring, uint8_t generation, uint64_t most, uint8_t *out, uintptr_t port)
{
    uint64_t found = 0, four[8] = {0};

    while (found < most && (*(volatile uint8_t *)(ring + found * 16 + 15) & 1) == generation) {
        memcpy(out + found * 16, (const void *)(ring + found * 16), 16);
        found++;
    }
    four[1] = element(0, found - 1, 1);
    store64(port, four);
    return found;
}

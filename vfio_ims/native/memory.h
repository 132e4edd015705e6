/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VFIO_IMS_MEMORY_H
#define VFIO_IMS_MEMORY_H

#include <stdint.h>

/* Put `fd`, from `offset` on, over `size` bytes of our own address space at `address`, not inherited by a fork.
 * 0 or -errno. */
int memory_place(uint64_t address, uint64_t size, int fd, uint64_t offset, int writable);
/* After a fork: hold the addresses that were not inherited, so that nothing else gets them. 0 or -errno. */
int memory_hold(uint64_t address, uint64_t size);

/* Have the functions below that say so survive a SIGBUS: memory of a file that its owner has cut, or that the file
 * system has no page for. Call it once before them. 0 or -errno. */
int memory_guard(void);
/* 0, or ACCESS_GONE on a SIGBUS: then some of it was done. Ranges may overlap. */
int memory_copy(uint64_t to, uint64_t from, uint64_t size);
/* The same, as a device's write lands: 1, 2, 4 and 8 aligned bytes are one store; of up to 64 the first 8 come last. */
int memory_put(uint64_t to, uint64_t from, uint64_t size);
int memory_fill(uint64_t to, uint8_t byte, uint64_t size);
/* One access of `width` bytes, ordered like a register's. */
uint64_t memory_load(uint64_t address, uint32_t width);
void memory_store(uint64_t address, uint32_t width, uint64_t value);
/* Clear and set bits of 32, as one step: a store by another party meanwhile is not undone. What was there before. */
uint32_t memory_change(uint64_t address, uint32_t clear, uint32_t set);
/* Load until (value & mask) == expected, or != if `differs`; the last value loaded. */
uint64_t memory_poll(uint64_t address, uint32_t width, uint64_t mask, uint64_t expected, int differs,
                     int64_t timeout_ns);
/* The indices of the addresses whose value satisfies that, once one does; 0 after the timeout. */
uint64_t memory_poll_any(const uint64_t *addresses, uint64_t count, uint32_t width, uint64_t mask, uint64_t expected,
                         int differs, int64_t timeout_ns, uint32_t *found);
/* Copy `count` values of 2, 4 or 8 bytes to every `step` bytes from `to` on; whether one of them is 0. */
int memory_scatter(void *to, uint64_t step, const void *values, uint32_t width, uint64_t count);
/* Wait until the byte at first + i * step is not 0, for each i in order, and copy them. How many came in time. */
uint64_t memory_collect(uint64_t first, uint64_t step, uint64_t count, int64_t timeout_ns, uint8_t *out);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "memory.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "clock.h"
#include "fault.h"
#include "mmio.h"
#include "status.h"

static void *at(uint64_t address)
{
    return (void *)(uintptr_t)address;
}

int memory_place(uint64_t address, uint64_t size, int fd, uint64_t offset, int writable)
{
    int rights = writable ? PROT_READ | PROT_WRITE : PROT_READ;

    if (mmap(at(address), size, rights, MAP_SHARED | MAP_FIXED, fd, (off_t)offset) == MAP_FAILED)
        return -errno;
    return madvise(at(address), size, MADV_DONTFORK) == 0 ? 0 : -errno;
}

int memory_hold(uint64_t address, uint64_t size)
{
    void *held = mmap(at(address), size, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);

    return held == MAP_FAILED ? -errno : 0;
}

int memory_guard(void)
{
    return fault_install();
}

/* What happens stays out of the function that calls sigsetjmp, whose locals must not change under it. */
#define GUARDED(what)                 \
    do {                              \
        sigjmp_buf here;              \
        if (sigsetjmp(here, 0) != 0)  \
            return ACCESS_GONE;       \
        fault_escape = &here;         \
        what;                         \
        fault_escape = NULL;          \
        return ACCESS_OK;             \
    } while (0)

int memory_copy(uint64_t to, uint64_t from, uint64_t size)
{
    GUARDED(memmove(at(to), at(from), size));
}

int memory_fill(uint64_t to, uint8_t byte, uint64_t size)
{
    GUARDED(memset(at(to), byte, size));
}

__attribute__((noinline)) static void put(uint64_t to, const uint8_t *from, uint64_t size)
{
    uint64_t value = 0;

    if (mmio_is_width((uint32_t)size) && size <= 8 && to % size == 0) {
        memcpy(&value, from, size);
        memory_store(to, (uint32_t)size, value);
    } else if (size > 8 && size <= 64 && to % 8 == 0) {
        memcpy(&value, from, 8);
        memcpy(at(to + 8), from + 8, size - 8);
        memory_store(to, 8, value);
    } else {
        memcpy(at(to), from, size);
    }
}

int memory_put(uint64_t to, uint64_t from, uint64_t size)
{
    GUARDED(put(to, at(from), size));
}

uint64_t memory_load(uint64_t address, uint32_t width)
{
    return mmio_load(at(address), width);
}

void memory_store(uint64_t address, uint32_t width, uint64_t value)
{
    switch (width) {
    case 1:
        mmio_store8(at(address), (uint8_t)value);
        break;
    case 2:
        mmio_store16(at(address), (uint16_t)value);
        break;
    case 4:
        mmio_store32(at(address), (uint32_t)value);
        break;
    default:
        mmio_store64(at(address), value);
    }
}

uint32_t memory_change(uint64_t address, uint32_t clear, uint32_t set)
{
    uint32_t *word = at(address);
    uint32_t old = __atomic_load_n(word, __ATOMIC_RELAXED);

    while (!__atomic_compare_exchange_n(word, &old, (old & ~clear) | set, 1, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
        ;
    return old;
}

static int satisfied(uint64_t value, uint64_t mask, uint64_t expected, int differs)
{
    return ((value & mask) == expected) != !!differs;
}

uint64_t memory_poll(uint64_t address, uint32_t width, uint64_t mask, uint64_t expected, int differs,
                     int64_t timeout_ns)
{
    int64_t deadline = now_ns() + timeout_ns;

    for (;;) {
        uint64_t value = memory_load(address, width);
        if (satisfied(value, mask, expected, differs) || now_ns() >= deadline)
            return value;
        mmio_pause();
    }
}

uint64_t memory_poll_any(const uint64_t *addresses, uint64_t count, uint32_t width, uint64_t mask, uint64_t expected,
                         int differs, int64_t timeout_ns, uint32_t *found)
{
    int64_t deadline = now_ns() + timeout_ns;
    uint64_t filled = 0;

    for (;;) {
        for (uint64_t i = 0; i < count; i++)
            if (satisfied(memory_load(addresses[i], width), mask, expected, differs))
                found[filled++] = (uint32_t)i;
        if (filled || now_ns() >= deadline)
            return filled;
        mmio_pause();
    }
}

/* Eight first bytes as one word, in order. Spelled out: what a loop would be, the compiler leaves one. */
static inline uint64_t eight(uint64_t first, uint64_t step)
{
#define BYTE(i) ((uint64_t)*(const volatile uint8_t *)at(first + i * step) << 8 * i)
    uint64_t word = BYTE(0) | BYTE(1) | BYTE(2) | BYTE(3) | BYTE(4) | BYTE(5) | BYTE(6) | BYTE(7);

    mmio_after_load();
    return word;
}

static inline int has_zero_byte(uint64_t word)
{
    return ((word - 0x0101010101010101ull) & ~word & 0x8080808080808080ull) != 0;
}

uint64_t memory_collect(uint64_t first, uint64_t step, uint64_t count, int64_t timeout_ns, uint8_t *out)
{
    int64_t deadline = 0;
    uint64_t i = 0, word;

    for (; i + 8 <= count; i += 8) {
        word = eight(first + i * step, step);
        if (has_zero_byte(word))
            break;
        memcpy(out + i, &word, 8);
    }
    for (; i < count; i++) {
        const void *place = at(first + i * step);
        while ((out[i] = mmio_load8(place)) == 0) {
            if (deadline == 0)
                deadline = now_ns() + timeout_ns;
            else if (now_ns() >= deadline)
                return i;
            mmio_pause();
        }
    }
    return count;
}

#define SCATTER(type)                                                    \
    for (const type *from = values; count; count--, from++, out += step) \
    {                                                                    \
        memcpy(out, from, sizeof *from);                                 \
        none |= *from == 0;                                              \
    }                                                                    \
    break

int memory_scatter(void *to, uint64_t step, const void *values, uint32_t width, uint64_t count)
{
    uint8_t *out = to;
    int none = 0;

    switch (width) {
    case 2:
        SCATTER(uint16_t);
    case 4:
        SCATTER(uint32_t);
    default:
        SCATTER(uint64_t);
    }
    return none;
}

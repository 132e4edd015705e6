/* SPDX-License-Identifier: Apache-2.0 */
/* One register access each: a single volatile load or store, ordered as Linux orders readX() and writeX(). */
#ifndef VFIO_IMS_MMIO_H
#define VFIO_IMS_MMIO_H

#include <stdint.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "PCI registers are little endian; only little-endian hosts are supported"
#endif

#if defined(__x86_64__)
/* Uncached accesses are in program order among themselves and after earlier stores to memory: the compiler is all
 * that has to be held back. Direct stores (MOVDIR64B) and non-temporal ones are weakly ordered and need the fence. */
#define mmio_before_store() __asm__ volatile("" ::: "memory")
#define mmio_after_load() __asm__ volatile("" ::: "memory")
#define mmio_direct_store_fence() __asm__ volatile("sfence" ::: "memory")
#define mmio_pause() __asm__ volatile("pause" ::: "memory")
#elif defined(__aarch64__)
#define mmio_before_store() __asm__ volatile("dmb oshst" ::: "memory")
#define mmio_after_load() __asm__ volatile("dmb oshld" ::: "memory")
#define mmio_direct_store_fence() __asm__ volatile("dmb oshst" ::: "memory")
#define mmio_pause() __asm__ volatile("yield" ::: "memory")
#else
#error "vfio-ims knows the memory ordering of x86-64 and arm64 only"
#endif

#define MMIO_ACCESS(bits)                                                            \
    static inline uint##bits##_t mmio_load##bits(const volatile void *at)            \
    {                                                                                \
        uint##bits##_t value = *(const volatile uint##bits##_t *)at;                 \
        mmio_after_load();                                                           \
        return value;                                                                \
    }                                                                                \
    static inline void mmio_store##bits(volatile void *at, uint##bits##_t value)     \
    {                                                                                \
        mmio_before_store();                                                         \
        *(volatile uint##bits##_t *)at = value;                                      \
    }

MMIO_ACCESS(8)
MMIO_ACCESS(16)
MMIO_ACCESS(32)
MMIO_ACCESS(64)

#undef MMIO_ACCESS

static inline uint64_t mmio_load(const volatile void *at, uint32_t width)
{
    switch (width) {
    case 1:
        return mmio_load8(at);
    case 2:
        return mmio_load16(at);
    case 4:
        return mmio_load32(at);
    default:
        return mmio_load64(at);
    }
}

static inline int mmio_is_width(uint32_t width)
{
    return width == 1 || width == 2 || width == 4 || width == 8;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* A store of 64 bytes to a portal: by one instruction, where the processor has it (cpu_has_store64), or in pieces. */
#ifndef VFIO_IMS_STORE64_H
#define VFIO_IMS_STORE64_H

#include <stdint.h>
#include <string.h>

#include "mmio.h"

#if defined(__x86_64__)
/* MOVDIR64B rax, [rdx] spelled out, so that any compiler takes it. */
static inline void direct_store64(void *to, const void *from)
{
    __asm__ volatile(".byte 0x66, 0x0f, 0x38, 0xf8, 0x02" ::"a"(to), "d"(from) : "memory");
}
#elif defined(__aarch64__)
/* ST64B x0, [x8], which stores x0 to x7, spelled out likewise (Arm ARM DDI 0487, C6.2 "ST64B"). */
static inline void direct_store64(void *to, const void *from)
{
    uint64_t word[8];

    memcpy(word, from, sizeof word);
    register uint64_t x0 __asm__("x0") = word[0], x1 __asm__("x1") = word[1], x2 __asm__("x2") = word[2];
    register uint64_t x3 __asm__("x3") = word[3], x4 __asm__("x4") = word[4], x5 __asm__("x5") = word[5];
    register uint64_t x6 __asm__("x6") = word[6], x7 __asm__("x7") = word[7];
    register void *x8 __asm__("x8") = to;
    __asm__ volatile(".inst 0xf83f9100"
                     ::"r"(x0), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5), "r"(x6), "r"(x7), "r"(x8)
                     : "memory");
}
#endif

static inline void store_in_pieces(uint8_t *to, const uint8_t *from)
{
    uint64_t word;

    for (int i = 0; i < 8; i++) {
        memcpy(&word, from + 8 * i, sizeof word); /* the caller's buffer: of any alignment */
        mmio_store64(to + 8 * i, word);
    }
}

#endif

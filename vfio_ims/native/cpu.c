/* SPDX-License-Identifier: Apache-2.0 */
#include "cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>

static int leaf7_ecx(unsigned bit)
{
    unsigned a, b, c, d;

    return __get_cpuid_count(7, 0, &a, &b, &c, &d) ? (int)(c >> bit & 1) : 0;
}

static int has_store64(void)
{
    return leaf7_ecx(28);
}
#elif defined(__aarch64__)
#include <sys/auxv.h>

enum { TYPE_HWCAP3 = 29, HWCAP3_BIT_LS64 = 3 }; /* younger than the C libraries that we are built with */

static int has_store64(void)
{
    return (int)(getauxval(TYPE_HWCAP3) >> HWCAP3_BIT_LS64 & 1);
}
#endif

/* Asked once, not before each store: CPUID leaves a virtual machine, for microseconds. */
int cpu_has_store64(void)
{
    static int known; /* 1 more than the answer */
    int found = __atomic_load_n(&known, __ATOMIC_RELAXED);

    if (!found) {
        found = 1 + has_store64();
        __atomic_store_n(&known, found, __ATOMIC_RELAXED);
    }
    return found - 1;
}

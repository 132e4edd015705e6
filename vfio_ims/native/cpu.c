/* SPDX-License-Identifier: Apache-2.0 */
#include "cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>

static int leaf7_ecx(unsigned bit)
{
    unsigned a, b, c, d;

    return __get_cpuid_count(7, 0, &a, &b, &c, &d) ? (int)(c >> bit & 1) : 0;
}

int cpu_has_movdir64b(void)
{
    return leaf7_ecx(28);
}
#else
int cpu_has_movdir64b(void)
{
    return 0;
}
#endif

/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VFIO_IMS_CPU_H
#define VFIO_IMS_CPU_H

/* Whether this CPU has the instruction (CPUID leaf 7, ECX bit 28; never on arm64). */
int cpu_has_movdir64b(void);

#endif

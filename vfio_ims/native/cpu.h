/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VFIO_IMS_CPU_H
#define VFIO_IMS_CPU_H

/* Whether this CPU stores 64 bytes as one write: x86 by MOVDIR64B (CPUID leaf 7, ECX bit 28), arm64 by ST64B, where the
 * kernel lets user space have it (AT_HWCAP3, HWCAP3_LS64: Linux' Documentation/arch/arm64/elf_hwcaps.rst). */
int cpu_has_store64(void);

#endif

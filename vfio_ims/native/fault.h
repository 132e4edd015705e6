/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VFIO_IMS_FAULT_H
#define VFIO_IMS_FAULT_H

#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>

/* Counts the forks between the process that loaded the module and this one. An owner keeps the number it was made
 * under; a different one means that its mappings stayed with the parent. */
extern uint32_t fault_forks;

/* Where to go if the access that this thread is about to make raises SIGBUS; NULL outside our accesses. */
extern __thread sigjmp_buf *volatile fault_escape __attribute__((tls_model("initial-exec")));

/* Put our SIGBUS handler on top, chained to the one that is there. Returns 0 or -errno. */
int fault_install(void);

#endif

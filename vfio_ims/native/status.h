/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VFIO_IMS_STATUS_H
#define VFIO_IMS_STATUS_H

/* What a checked access answers instead of a value: negative, so that no register value of up to 32 bits looks like it. */
enum access_status {
    ACCESS_OK = 0,
    ACCESS_BOUNDS = -1,      /* not within the window */
    ACCESS_MISALIGNED = -2,  /* not a multiple of the width */
    ACCESS_GUARDED = -3,     /* a write that meets the guarded range */
    ACCESS_TRAPPED = -4,     /* no mapping allows it: the other side must be asked */
    ACCESS_CLOSED = -5,      /* the window was closed */
    ACCESS_FORKED = -6,      /* the window belongs to the parent of this forked process */
    ACCESS_GONE = -7,        /* the access raised SIGBUS */
    ACCESS_UNSUPPORTED = -8, /* this CPU has no such instruction */
    ACCESS_INVALID = -9,     /* arguments that contradict each other */
    ACCESS_BUSY = -10        /* what was begun is still under way */
};

#endif

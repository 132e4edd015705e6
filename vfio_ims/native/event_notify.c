/* SPDX-License-Identifier: Apache-2.0 */
/* Signals an eventfd that another process may have filled, and whose O_NONBLOCK it may clear at any time: the flag
 * belongs to the open file that both sides share, so that a look before a write proves nothing, and write() has no
 * flag of its own for it (eventfds take no RWF_NOWAIT). The kernel's own signal never waits: it saturates. Linux AIO
 * ends a request with that signal (IOCB_FLAG_RESFD, fs/aio.c), here a read of nothing that is over at once. */
#include <errno.h>
#include <linux/aio_abi.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "events.h"

enum { AT_ONCE = 64 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static aio_context_t context; /* 0: none yet */
static int nothing = -1;      /* an empty file */

static void after_fork_in_child(void)
{
    pthread_mutex_init(&lock, NULL); /* its holder is not in this process */
    context = 0;                     /* it belongs to the parent's memory */
    if (nothing >= 0)
        close(nothing);
    nothing = -1;
}

__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, after_fork_in_child);
}

static int prepare(void)
{
    aio_context_t made = 0;

    if (nothing < 0)
        nothing = memfd_create("vfio-ims-nothing", MFD_CLOEXEC);
    if (nothing < 0)
        return -errno;
    if (!context && syscall(SYS_io_setup, AT_ONCE, &made) != 0)
        return -errno;
    if (made)
        context = made;
    return 0;
}

static long submit(int fd)
{
    struct iocb request, *one = &request;
    char byte;

    memset(&request, 0, sizeof request);
    request.aio_lio_opcode = IOCB_CMD_PREAD;
    request.aio_fildes = (uint32_t)nothing;
    request.aio_buf = (uint64_t)(uintptr_t)&byte;
    request.aio_nbytes = 1;
    request.aio_flags = IOCB_FLAG_RESFD;
    request.aio_resfd = (uint32_t)fd;
    return syscall(SYS_io_submit, context, 1, &one) == 1 ? 0 : -errno;
}

int event_notify(int fd)
{
    struct io_event done[AT_ONCE];
    struct timespec at_once = {0, 0};
    long error;

    pthread_mutex_lock(&lock);
    error = prepare();
    if (error == 0) {
        error = submit(fd);
        if (error == -EAGAIN) { /* as many are done as fit */
            syscall(SYS_io_getevents, context, 0, AT_ONCE, done, &at_once);
            error = submit(fd);
        }
    }
    pthread_mutex_unlock(&lock);
    return (int)error;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* For an emulated process (LD_PRELOAD): qemu-user refuses MADV_DONTFORK with EINVAL, and maps nothing of a device that a
 * forked child could inherit. */
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

int madvise(void *address, size_t size, int advice)
{
    return advice == MADV_DONTFORK ? 0 : (int)syscall(SYS_madvise, address, size, advice);
}

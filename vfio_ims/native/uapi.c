/* SPDX-License-Identifier: Apache-2.0 */
#include "uapi.h"

#include <errno.h>
#include <sys/ioctl.h>

int ioc_call(int fd, unsigned long request, void *argument)
{
    int result = ioctl(fd, request, argument);

    return result < 0 ? -errno : result;
}

int ioc_call_value(int fd, unsigned long request, unsigned long argument)
{
    int result = ioctl(fd, request, argument);

    return result < 0 ? -errno : result;
}

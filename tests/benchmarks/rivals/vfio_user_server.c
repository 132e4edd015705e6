/* SPDX-License-Identifier: Apache-2.0 */
/* A server in C on libvfio-user: a PCI function whose BAR 0 is 4 KiB of registers, each access a callback. */
#include <errno.h>
#include <err.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "libvfio-user.h"

#define SIZE 4096

static ssize_t registers(vfu_ctx_t *context, char *data, size_t count, loff_t offset, bool write)
{
    char *memory = vfu_get_private(context);

    if (offset < 0 || offset + (loff_t)count > SIZE) {
        errno = EINVAL;
        return -1;
    }
    if (write)
        memcpy(memory + offset, data, count);
    else
        memcpy(data, memory + offset, count);
    return count;
}

int main(int argc, char **argv)
{
    static char memory[SIZE] = {0x31, 0x53, 0x4d, 0x49};
    vfu_ctx_t *context;

    if (argc != 2)
        errx(2, "usage: %s SOCKET", argv[0]);
    context = vfu_create_ctx(VFU_TRANS_SOCK, argv[1], 0, memory, VFU_DEV_TYPE_PCI);
    if (context == NULL || vfu_pci_init(context, VFU_PCI_TYPE_EXPRESS, PCI_HEADER_TYPE_NORMAL, 0) < 0)
        err(1, "no context");
    vfu_pci_set_id(context, 0x1234, 0x0001, 0, 0);
    if (vfu_setup_region(context, VFU_PCI_DEV_BAR0_REGION_IDX, SIZE, registers, VFU_REGION_FLAG_RW, NULL, 0, -1, 0) < 0)
        err(1, "no region");
    if (vfu_realize_ctx(context) < 0 || vfu_attach_ctx(context) < 0)
        err(1, "no client");
    while (vfu_run_ctx(context) >= 0 || errno == EINTR)
        ;
    vfu_destroy_ctx(context);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A client in C on libvfio-user's transport: 32-bit accesses to a region, as many as are asked for. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "tran_sock.h"

struct access {
    struct vfio_user_region_access head;
    uint32_t value;
} __attribute__((packed));

static int versions(int sock)
{
    static char capabilities[] = "{\"capabilities\":{\"max_msg_fds\":8,\"max_data_xfer_size\":1048576}}";
    struct vfio_user_version version = {.major = LIB_VFIO_USER_MAJOR, .minor = LIB_VFIO_USER_MINOR};
    struct iovec parts[3] = {
        [1] = {.iov_base = &version, .iov_len = sizeof(version)},
        [2] = {.iov_base = capabilities, .iov_len = sizeof(capabilities)},
    };
    struct vfio_user_header header;
    void *answer = NULL;
    size_t size;

    if (tran_sock_send_iovec(sock, 1, false, VFIO_USER_VERSION, parts, 3, NULL, 0, 0) < 0)
        return -errno;
    if (tran_sock_recv_alloc(sock, &header, true, NULL, &answer, &size) < 0)
        return -errno;
    free(answer);
    return 0;
}

/* The socket of a server that has agreed on a version, or -errno. */
int client_open(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), error;

    if (sock < 0)
        return -errno;
    strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
    error = connect(sock, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : versions(sock);
    if (error) {
        close(sock);
        return error;
    }
    return sock;
}

/* Reads `count` times; the last value, or -errno. */
int64_t client_read32(int sock, uint32_t region, uint64_t offset, uint64_t count)
{
    struct access answer = {{0}};

    for (uint64_t n = 0; n < count; n++) {
        struct vfio_user_region_access ask = {.offset = offset, .region = region, .count = 4};
        if (tran_sock_msg(sock, 2, VFIO_USER_REGION_READ, &ask, sizeof(ask), NULL, &answer, sizeof(answer)) < 0)
            return -errno;
    }
    return answer.value;
}

/* Writes `size` bytes, at most 4, `count` times; 0 or -errno. */
int client_write(int sock, uint32_t region, uint64_t offset, uint32_t value, uint32_t size, uint64_t count)
{
    for (uint64_t n = 0; n < count; n++) {
        struct access ask = {.head = {.offset = offset, .region = region, .count = size}, .value = value};
        struct vfio_user_region_access answer;
        if (tran_sock_msg(sock, 3, VFIO_USER_REGION_WRITE, &ask, sizeof(ask.head) + size, NULL, &answer,
                          sizeof(answer)) < 0)
            return -errno;
    }
    return 0;
}

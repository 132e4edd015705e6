// SPDX-License-Identifier: Apache-2.0
// The least that a vfio-user server can be: one client, a register that reads as 0, no checks, a send for each request.
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { VERSION = 1, INFO = 4, REGION_INFO = 5, IRQ_INFO = 7, REGION_READ = 9 };
struct header { uint16_t id, command; uint32_t size, flags, error; };
struct access { uint64_t offset; uint32_t region, count; };
struct region { uint32_t argsz, flags, index, next; uint64_t size, offset; };

static char buffer[1 << 16];
static size_t held;

// Receive until `size` bytes are held.
static int receive(int fd, size_t size)
{
    while (held < size) {
        ssize_t more = recv(fd, buffer + held, sizeof buffer - held, 0);
        if (more <= 0)
            return 0;
        held += (size_t)more;
    }
    return 1;
}

int main(int count, char **arguments)
{
    static const char capabilities[] = "{\"capabilities\":{\"max_msg_fds\":8,\"max_data_xfer_size\":1048576}}";
    static char message[1 << 16];
    struct sockaddr_un place = { .sun_family = AF_UNIX };
    struct header *header = (struct header *)message;
    char *body = message + sizeof *header;
    int listener = socket(AF_UNIX, SOCK_STREAM, 0), fd;

    if (count != 2)
        return 2;
    strncpy(place.sun_path, arguments[1], sizeof place.sun_path - 1);
    if (bind(listener, (struct sockaddr *)&place, sizeof place) || listen(listener, 1))
        return 1;
    if ((fd = accept(listener, 0, 0)) < 0)
        return 1;
    for (;;) {
        if (!receive(fd, sizeof *header))
            return 0;
        size_t asked = ((struct header *)buffer)->size;
        if (asked < sizeof *header || asked > sizeof buffer || !receive(fd, asked))
            return 0;
        memcpy(message, buffer, asked);
        memmove(buffer, buffer + asked, held -= asked);
        uint32_t size = header->size - sizeof *header;
        switch (header->command) {
        case VERSION:
            memcpy(body + 4, capabilities, sizeof capabilities);
            size = 4 + sizeof capabilities;
            break;
        case INFO:
            memcpy(body + 4, (uint32_t[]){ 2, 9, 5 }, 12);
            break;
        case REGION_INFO:
            ((struct region *)body)->flags = 3;
            ((struct region *)body)->next = 0;
            ((struct region *)body)->size = 4096;
            ((struct region *)body)->offset = 0;
            ((struct region *)body)->argsz = size = sizeof(struct region);
            break;
        case REGION_READ:
            size = sizeof(struct access) + ((struct access *)body)->count;
            if (size > sizeof message - sizeof *header)
                return 1;
            memset(body + sizeof(struct access), 0, ((struct access *)body)->count);
            break;
        }
        header->size = sizeof *header + size;
        header->flags = 1;
        header->error = 0;
        if (send(fd, message, header->size, MSG_NOSIGNAL) < 0)
            return 0;
    }
}

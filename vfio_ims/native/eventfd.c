/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "events.h"

static pthread_mutex_t merging = PTHREAD_MUTEX_INITIALIZER;

static void after_fork_in_child(void)
{
    pthread_mutex_init(&merging, NULL); /* its holder is not in this process */
}

__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, after_fork_in_child);
}

int event_signal(int fd, uint64_t count)
{
    return write(fd, &count, sizeof count) == sizeof count ? 0 : -errno;
}

int64_t event_drain(int fd)
{
    uint64_t count;

    if (read(fd, &count, sizeof count) != sizeof count)
        return errno == EAGAIN ? 0 : -errno;
    return count > INT64_MAX ? INT64_MAX : (int64_t)count;
}

int event_signal_merged(int fd)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    int result;

    pthread_mutex_lock(&merging); /* looking and adding are one step among our own signallers */
    result = poll(&ready, 1, 0);
    if (result < 0)
        result = -errno;
    else if (result && (ready.revents & POLLIN))
        result = 0;
    else
        result = event_signal(fd, 1) == 0 ? 1 : -errno;
    pthread_mutex_unlock(&merging);
    return result;
}

int event_signal_many(const int32_t *fds, uint64_t count)
{
    int error = 0;

    for (uint64_t i = 0; i < count; i++) {
        int result = event_signal(fds[i], 1);
        if (result)
            error = result;
    }
    return error;
}

int event_timer(uint64_t period_ms)
{
    struct timespec period = {.tv_sec = (time_t)(period_ms / 1000), .tv_nsec = (long)(period_ms % 1000) * 1000000};
    struct itimerspec every = {.it_interval = period, .it_value = period};
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    int error;

    if (fd < 0)
        return -errno;
    if (timerfd_settime(fd, 0, &every, NULL) == 0)
        return fd;
    error = errno;
    close(fd);
    return -error;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "events.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "fault.h"

enum { BATCH = EVENTS_AT_ONCE, WAKE = 0 };

/* A token is the entry's index with its generation above it, so that a descriptor removed and replaced while a
 * waiter was on its way back is not taken for its successor. Entry 0 is the wake-up descriptor. */
struct entry {
    int fd; /* -1: free */
    uint32_t generation;
    uint32_t next_free;
};

struct poller {
    int epoll, wake;
    uint32_t forks;
    pthread_mutex_t lock; /* the entries; held while descriptors are read, never while waiting */
    struct entry *entries;
    uint32_t count, capacity, first_free; /* first_free 0: none */
    atomic_uint waiters, closed;
};

static int64_t token_of(struct poller *p, uint32_t index)
{
    return (int64_t)((uint64_t)p->entries[index].generation << 32 | index);
}

static int watch(struct poller *p, uint32_t index, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)token_of(p, index)};

    return epoll_ctl(p->epoll, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

struct poller *poller_new(void)
{
    struct poller *p = calloc(1, sizeof *p);
    int error;

    if (!p)
        return NULL;
    p->forks = fault_forks;
    p->capacity = 16;
    p->count = 1;
    p->entries = calloc(p->capacity, sizeof *p->entries);
    pthread_mutex_init(&p->lock, NULL);
    p->epoll = epoll_create1(EPOLL_CLOEXEC);
    p->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (p->entries && p->epoll >= 0 && p->wake >= 0) {
        p->entries[WAKE].fd = p->wake;
        p->entries[WAKE].generation = 1;
        if (watch(p, WAKE, p->wake) == 0)
            return p;
    }
    error = errno ? errno : ENOMEM;
    poller_free(p);
    errno = error;
    return NULL;
}

int poller_fileno(struct poller *p)
{
    return p->epoll;
}

int poller_interrupt(struct poller *p)
{
    return event_signal(p->wake, 1);
}

void poller_close(struct poller *p)
{
    if (atomic_exchange(&p->closed, 1))
        return;
    /* A forked child has the descriptors but not the waiters; it only gives its copies back. */
    while (p->forks == fault_forks && atomic_load(&p->waiters)) {
        poller_interrupt(p);
        sched_yield();
    }
    if (p->epoll >= 0)
        close(p->epoll);
    if (p->wake >= 0)
        close(p->wake);
    p->epoll = p->wake = -1;
}

void poller_free(struct poller *p)
{
    if (!p)
        return;
    poller_close(p);
    free(p->entries);
    free(p);
}

/* A free entry's index, or 0 where memory ran out. */
static uint32_t take_entry(struct poller *p)
{
    uint32_t index = p->first_free;

    if (index) {
        p->first_free = p->entries[index].next_free;
        return index;
    }
    if (p->count == p->capacity) {
        struct entry *grown = realloc(p->entries, 2 * (size_t)p->capacity * sizeof *grown);
        if (!grown)
            return 0;
        p->entries = grown;
        p->capacity *= 2;
    }
    p->entries[p->count].generation = 0;
    return p->count++;
}

static void give_entry(struct poller *p, uint32_t index)
{
    p->entries[index].fd = -1;
    p->entries[index].next_free = p->first_free;
    p->first_free = index;
}

int64_t poller_add(struct poller *p, int fd)
{
    int flags = fcntl(fd, F_GETFL);
    uint32_t index;
    int64_t result;

    if (flags < 0)
        return -errno;
    if (!(flags & O_NONBLOCK))
        return -EINVAL;
    pthread_mutex_lock(&p->lock);
    index = take_entry(p);
    if (!index) {
        result = -ENOMEM;
    } else {
        p->entries[index].fd = fd;
        p->entries[index].generation = (p->entries[index].generation + 1) & INT32_MAX;
        result = watch(p, index, fd);
        if (result == 0)
            result = token_of(p, index);
        else
            give_entry(p, index);
    }
    pthread_mutex_unlock(&p->lock);
    return result;
}

/* The entry that a token names, or NULL if it was removed. The lock is held. */
static struct entry *entry_of(struct poller *p, uint64_t token)
{
    uint32_t index = (uint32_t)token;

    if (index >= p->count || p->entries[index].fd < 0 || p->entries[index].generation != token >> 32)
        return NULL;
    return &p->entries[index];
}

int poller_remove(struct poller *p, int64_t token)
{
    struct entry *entry;
    int result = -ENOENT;

    pthread_mutex_lock(&p->lock);
    entry = entry_of(p, (uint64_t)token);
    if (entry) {
        /* A descriptor that was closed first has left the epoll by itself. */
        result = epoll_ctl(p->epoll, EPOLL_CTL_DEL, entry->fd, NULL) == 0 || errno == EBADF || errno == ENOENT
                     ? 0
                     : -errno;
        give_entry(p, (uint32_t)token);
    }
    pthread_mutex_unlock(&p->lock);
    return result;
}

static int drain_batch(struct poller *p, const struct epoll_event *ready, int found, int64_t *tokens,
                       uint64_t *counts)
{
    int filled = 0;

    pthread_mutex_lock(&p->lock);
    for (int i = 0; i < found; i++) {
        struct entry *entry = entry_of(p, ready[i].data.u64);
        int64_t count = entry ? event_drain(entry->fd) : 0;
        if (count > 0 && entry != &p->entries[WAKE]) {
            tokens[filled] = (int64_t)ready[i].data.u64;
            counts[filled++] = (uint64_t)count;
        }
    }
    pthread_mutex_unlock(&p->lock);
    return filled;
}

int poller_wait(struct poller *p, int timeout_ms, int most, int64_t *tokens, uint64_t *counts)
{
    struct epoll_event ready[BATCH];
    int found;

    atomic_fetch_add(&p->waiters, 1);
    if (atomic_load(&p->closed)) {
        found = -EBADF;
    } else {
        found = epoll_wait(p->epoll, ready, most < BATCH ? most : BATCH, timeout_ms);
        found = found < 0 ? -errno : drain_batch(p, ready, found, tokens, counts);
    }
    atomic_fetch_sub(&p->waiters, 1);
    return found;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "events.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "fault.h"

enum { BATCH = EVENTS_AT_ONCE, WAKE = 0, LIKELY_IN_A_ROW = 32 };

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
    int32_t taken;                        /* what poller_take returned; its caller clears it when that is dealt with */
    uint64_t alone, likely;               /* the token of the only entry of the last batch, and of the last two; or 0 */
    uint32_t in_a_row;                    /* how often `likely` was read since the epoll was asked */
    atomic_uint waiters, closed;
    /* One sleeper at a time, the leader, is in epoll_wait; the others wait for the epoch to change, which is a futex.
     * A thread that changes something and then looks for sleepers, and one that announces that it sleeps and then
     * looks for a change, cannot miss each other: all of these are sequentially consistent. */
    atomic_uint epoch, leading, sleepers;
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
    int fd;

    pthread_mutex_lock(&p->lock);
    fd = p->epoll;
    pthread_mutex_unlock(&p->lock);
    return fd;
}

static void wake_sleepers(struct poller *p)
{
    atomic_fetch_add(&p->epoch, 1);
    if (atomic_load(&p->sleepers))
        syscall(SYS_futex, &p->epoch, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* The lock is held: the descriptor is not closed meanwhile. */
static void wake_all(struct poller *p)
{
    wake_sleepers(p);
    if (atomic_load(&p->leading) && p->wake >= 0)
        event_signal(p->wake, 1);
}

void poller_wake(struct poller *p)
{
    pthread_mutex_lock(&p->lock);
    wake_all(p);
    pthread_mutex_unlock(&p->lock);
}

int poller_nudge(struct poller *p)
{
    int result;

    pthread_mutex_lock(&p->lock);
    result = event_signal(p->wake, 1);
    pthread_mutex_unlock(&p->lock);
    return result;
}

void poller_close(struct poller *p)
{
    if (atomic_exchange(&p->closed, 1))
        return;
    if (p->forks != fault_forks)
        pthread_mutex_init(&p->lock, NULL); /* a forked child has the descriptors but none of the other threads */
    else
        while (atomic_load(&p->waiters)) {
            poller_wake(p);
            sched_yield();
        }
    pthread_mutex_lock(&p->lock);
    if (p->epoll >= 0)
        close(p->epoll);
    if (p->wake >= 0)
        close(p->wake);
    p->epoll = p->wake = -1;
    pthread_mutex_unlock(&p->lock);
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

/* Of `ready`, the entries that had a count. The lock is held. */
static int drain_batch(struct poller *p, const struct epoll_event *ready, int found, int64_t *tokens,
                       uint64_t *counts)
{
    int filled = 0;

    for (int i = 0; i < found; i++) {
        struct entry *entry = entry_of(p, ready[i].data.u64);
        int64_t count;

        if (!entry)
            continue;
        if (entry == &p->entries[WAKE]) {
            if (atomic_load(&p->leading))
                continue; /* it is the leader's */
            event_drain(entry->fd);
            if (atomic_load(&p->leading))
                event_signal(entry->fd, 1); /* who began to lead just now may have been meant */
            continue;
        }
        count = event_drain(entry->fd);
        if (count > 0) {
            tokens[filled] = (int64_t)ready[i].data.u64;
            counts[filled++] = (uint64_t)count;
        }
    }
    return filled;
}

/* What the epoll has, drained. The lock is held. */
static int take_batch(struct poller *p, int most, int64_t *tokens, uint64_t *counts)
{
    struct epoll_event ready[BATCH];
    int found = epoll_wait(p->epoll, ready, most < BATCH ? most : BATCH, 0);
    uint64_t alone;

    if (found < 0)
        return -errno;
    found = drain_batch(p, ready, found, tokens, counts);
    alone = found == 1 ? (uint64_t)tokens[0] : 0;
    p->likely = alone == p->alone ? alone : 0;
    p->alone = alone;
    p->in_a_row = 0;
    return found;
}

/* The count of an eventfd that may have none, and whose O_NONBLOCK another process may have cleared; 0: ask the epoll. */
static uint64_t peek(int fd)
{
    uint64_t count;
    struct iovec whole = {&count, sizeof count};

    return preadv2(fd, &whole, 1, -1, RWF_NOWAIT) == sizeof count ? count : 0;
}

/* 1 where the entry that has events by itself again and again has one, 0 where the epoll must be asked. Lock held. */
static int take_likely(struct poller *p, int64_t *tokens, uint64_t *counts)
{
    struct entry *entry = p->likely && p->in_a_row < LIKELY_IN_A_ROW ? entry_of(p, p->likely) : NULL;

    if (!entry || (counts[0] = peek(entry->fd)) == 0)
        return 0;
    p->in_a_row++;
    tokens[0] = (int64_t)p->likely;
    return 1;
}

static int take(struct poller *p, int most, int64_t *tokens, uint64_t *counts, int some)
{
    int found;

    pthread_mutex_lock(&p->lock);
    if (p->epoll < 0) {
        found = -EBADF;
    } else if ((found = __atomic_load_n(&p->taken, __ATOMIC_SEQ_CST)) > 0) {
        ; /* who took them broke off */
    } else {
        if (!some || (found = take_likely(p, tokens, counts)) == 0)
            found = take_batch(p, most, tokens, counts);
        if (found > 0) {
            __atomic_store_n(&p->taken, found, __ATOMIC_SEQ_CST);
            wake_all(p); /* now, so that a caller that breaks off after this leaves no thread asleep */
        }
    }
    pthread_mutex_unlock(&p->lock);
    return found;
}

int poller_take(struct poller *p, int most, int64_t *tokens, uint64_t *counts)
{
    return take(p, most, tokens, counts, 0);
}

int poller_take_some(struct poller *p, int most, int64_t *tokens, uint64_t *counts)
{
    return take(p, most, tokens, counts, 1);
}

int32_t *poller_taken(struct poller *p)
{
    return &p->taken;
}

uint32_t poller_epoch(struct poller *p)
{
    return atomic_load(&p->epoch);
}

static int lead(struct poller *p, uint32_t epoch, int timeout_ms)
{
    struct epoll_event ready;
    int found = 0;

    if (__atomic_load_n(&p->taken, __ATOMIC_SEQ_CST))
        found = 1;
    else if (atomic_load(&p->epoch) == epoch && !atomic_load(&p->closed)) {
        found = epoll_wait(p->epoll, &ready, 1, timeout_ms);
        if (found < 0)
            found = -errno;
        else if (found > 0 && ready.data.u64 == (uint64_t)token_of(p, WAKE)) {
            event_drain(p->wake);
            found = 0;
        }
    }
    atomic_store(&p->leading, 0);
    if (atomic_load(&p->sleepers))
        wake_sleepers(p); /* one of them leads now */
    return found;
}

static int follow(struct poller *p, uint32_t epoch, int timeout_ms)
{
    struct timespec left = {timeout_ms / 1000, timeout_ms % 1000 * 1000000L};
    long slept = syscall(SYS_futex, &p->epoch, FUTEX_WAIT_PRIVATE, epoch, timeout_ms < 0 ? NULL : &left, NULL, 0);

    return slept < 0 && errno == EINTR ? -EINTR : 0;
}

int poller_sleep(struct poller *p, uint32_t epoch, int timeout_ms)
{
    int found;

    atomic_fetch_add(&p->waiters, 1);
    if (atomic_load(&p->closed)) {
        found = -EBADF;
    } else {
        atomic_fetch_add(&p->sleepers, 1);
        if (atomic_exchange(&p->leading, 1) == 0) {
            atomic_fetch_sub(&p->sleepers, 1);
            found = lead(p, epoch, timeout_ms);
        } else {
            found = follow(p, epoch, timeout_ms);
            atomic_fetch_sub(&p->sleepers, 1);
        }
    }
    atomic_fetch_sub(&p->waiters, 1);
    return found;
}

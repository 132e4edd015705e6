/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VFIO_IMS_EVENTS_H
#define VFIO_IMS_EVENTS_H

#include <stdint.h>

enum event_limits { EVENTS_AT_ONCE = 256 };

/* An epoll of eventfds, drained in batches. */
struct poller;

/* NULL with errno. */
struct poller *poller_new(void);
/* Wakes the waiters and waits for them; then closes the descriptors. */
void poller_close(struct poller *p);
void poller_free(struct poller *p);
int poller_fileno(struct poller *p);

/* A token (never 0 or less), or -errno. The descriptor must be a non-blocking eventfd. */
int64_t poller_add(struct poller *p, int fd);
/* After it returned, no waiter touches the descriptor. 0 or -errno. */
int poller_remove(struct poller *p, int64_t token);
/* Make every sleeper return. */
void poller_wake(struct poller *p);
/* Make the epoll's descriptor readable until the next poller_take. 0 or -errno. */
int poller_nudge(struct poller *p);
/* How many of the arrays were filled with tokens and their counts, at most EVENTS_AT_ONCE; or -errno. Wakes the
 * sleepers where there are some. Until the caller clears *poller_taken() the next call, with the same arrays, returns
 * the same: who breaks off in between loses nothing. Does not wait. */
int poller_take(struct poller *p, int most, int64_t *tokens, uint64_t *counts);
/* The same for who comes again while the epoll's descriptor is readable. One that has had events by itself the last
 * times is read without asking the epoll: others that have some then wait for several turns at most. */
int poller_take_some(struct poller *p, int most, int64_t *tokens, uint64_t *counts);
int32_t *poller_taken(struct poller *p);
/* Changes with every wake. Read it before looking for what a wake would report. */
uint32_t poller_epoch(struct poller *p);
/* Sleep until there is something to take (then positive), the epoch is not `epoch` any more, or the time is over; or
 * -errno. One thread at a time waits for the descriptors; when it returns, another of the sleepers does. */
int poller_sleep(struct poller *p, uint32_t epoch, int timeout_ms);

/* 0 or -errno. */
int event_signal(int fd, uint64_t count);
/* Adds 1 to an eventfd that another process shares, and never waits: a full one saturates. 0 or -errno. */
int event_notify(int fd);
/* The count, which is 0 where nothing was signalled; or -errno. */
int64_t event_drain(int fd);
/* 1 if it was added, 0 if one was pending, or -errno. Signals through here only: one pending bit. */
int event_signal_merged(int fd);
/* Adds 1 to each; returns 0, or -errno of the last one that failed. */
int event_signal_many(const int32_t *fds, uint64_t count);
/* A timer's descriptor, non-blocking, readable after each period and drained as an eventfd is; or -errno. */
int event_timer(uint64_t period_ms);

#endif

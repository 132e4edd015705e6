/* SPDX-License-Identifier: Apache-2.0 */
/* A mapped access to a device whose memory decoding is off, or that is gone, raises SIGBUS. Inside our own accesses
 * that becomes a status; anywhere else the signal goes to the previous handler. */
#include "fault.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

uint32_t fault_forks;
__thread sigjmp_buf *volatile fault_escape __attribute__((tls_model("initial-exec")));

static __thread volatile int chaining __attribute__((tls_model("initial-exec")));
static pthread_mutex_t install_lock = PTHREAD_MUTEX_INITIALIZER;
static struct sigaction previous;

static void after_fork_in_child(void)
{
    fault_forks++;
    pthread_mutex_init(&install_lock, NULL); /* its holder is not in this process */
}

__attribute__((constructor)) static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, after_fork_in_child);
}

/* Of an access of this thread: raised by the kernel for it, or raised again by a handler above ours (faulthandler). */
static int synchronous(const siginfo_t *info)
{
    if (info->si_code == SI_TKILL)
        return info->si_pid == getpid();
    return info->si_code > 0 && info->si_code != BUS_MCEERR_AO;
}

static void die_by(int signal_number)
{
    struct sigaction fatal;

    memset(&fatal, 0, sizeof fatal);
    fatal.sa_handler = SIG_DFL;
    sigaction(signal_number, &fatal, NULL);
}

static void on_fault(int signal_number, siginfo_t *info, void *context)
{
    sigjmp_buf *escape = fault_escape;

    if (escape && synchronous(info)) {
        fault_escape = NULL;
        siglongjmp(*escape, 1);
    }
    /* Not ours. A handler that leads back to us (installed after us, then chained below us) must not loop. */
    if (chaining || previous.sa_handler == SIG_DFL || previous.sa_handler == SIG_IGN) {
        die_by(signal_number);
        if (info->si_code <= 0)
            raise(signal_number); /* sent, not caused: returning would not raise it again */
        return;
    }
    chaining = 1;
    if (previous.sa_flags & SA_SIGINFO)
        previous.sa_sigaction(signal_number, info, context);
    else
        previous.sa_handler(signal_number);
    chaining = 0;
}

int fault_install(void)
{
    struct sigaction current, ours;
    int error = 0;

    pthread_mutex_lock(&install_lock);
    if (sigaction(SIGBUS, NULL, &current) != 0) {
        error = -errno;
    } else if (!(current.sa_flags & SA_SIGINFO) || current.sa_sigaction != on_fault) {
        memset(&ours, 0, sizeof ours);
        ours.sa_sigaction = on_fault;
        /* NODEFER: we leave by a jump, which does not restore the mask. ONSTACK: as faulthandler below us expects. */
        ours.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
        sigemptyset(&ours.sa_mask);
        previous = current;
        if (sigaction(SIGBUS, &ours, NULL) != 0)
            error = -errno;
    }
    pthread_mutex_unlock(&install_lock);
    return error;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Counts the accesses to a page: takes its permissions away, and lets each access through for one instruction.
 * x86-64 only (the trap flag). Test code. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

enum { MOST = 4096, PAGE_FAULT_WRITE = 2, TRAP_FLAG = 0x100 };

struct seen {
    uint32_t offset;
    uint32_t write;
    uint64_t changed; /* which bytes of the 64 around it the access changed, as bits */
};

static struct seen log_of[MOST];
static int count;
static uint8_t *page;
static uint64_t page_size;
static uint8_t before[64];
static struct sigaction old_segv, old_trap;

static void on_segv(int number, siginfo_t *info, void *context)
{
    ucontext_t *machine = context;
    uint8_t *at = info->si_addr;

    if (at < page || at >= page + page_size) {
        sigaction(number, &old_segv, NULL); /* a fault outside our accesses: let it happen again */
        return;
    }
    mprotect(page, page_size, PROT_READ | PROT_WRITE);
    if (count < MOST) {
        log_of[count].offset = (uint32_t)(at - page);
        log_of[count].write = (machine->uc_mcontext.gregs[REG_ERR] & PAGE_FAULT_WRITE) != 0;
        memcpy(before, (void *)((uintptr_t)at & ~63ul), 64);
    }
    count++;
    machine->uc_mcontext.gregs[REG_EFL] |= TRAP_FLAG;
}

static void on_trap(int number, siginfo_t *info, void *context)
{
    ucontext_t *machine = context;

    (void)number;
    (void)info;
    if (count <= MOST) {
        struct seen *last = &log_of[count - 1];
        const uint8_t *after = page + (last->offset & ~63u);
        last->changed = 0;
        for (int i = 0; i < 64; i++)
            if (after[i] != before[i])
                last->changed |= 1ull << i;
    }
    mprotect(page, page_size, PROT_NONE);
    machine->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
}

void trap_begin(uint64_t address, uint64_t size)
{
    struct sigaction action;

    page = (uint8_t *)address;
    page_size = size;
    count = 0;
    memset(&action, 0, sizeof action);
    action.sa_flags = SA_SIGINFO;
    action.sa_sigaction = on_segv;
    sigaction(SIGSEGV, &action, &old_segv);
    action.sa_sigaction = on_trap;
    sigaction(SIGTRAP, &action, &old_trap);
    mprotect(page, page_size, PROT_NONE);
}

int trap_end(struct seen *out)
{
    int seen = count < MOST ? count : MOST;

    mprotect(page, page_size, PROT_READ | PROT_WRITE);
    sigaction(SIGSEGV, &old_segv, NULL);
    sigaction(SIGTRAP, &old_trap, NULL);
    memcpy(out, log_of, (size_t)seen * sizeof *out);
    return count;
}

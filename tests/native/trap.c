/* SPDX-License-Identifier: Apache-2.0 */
/* Counts the accesses to a page: takes its permissions away, and lets each access through for one instruction.
 * One instruction: by the trap flag on x86-64, by a breakpoint on the next one on arm64. Test code. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

enum { MOST = 4096 };

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

#if defined(__x86_64__)

enum { PAGE_FAULT_WRITE = 2, TRAP_FLAG = 0x100 };

static int is_write(ucontext_t *machine)
{
    return (machine->uc_mcontext.gregs[REG_ERR] & PAGE_FAULT_WRITE) != 0;
}

static void step(ucontext_t *machine)
{
    machine->uc_mcontext.gregs[REG_EFL] |= TRAP_FLAG;
}

static void stepped(ucontext_t *machine)
{
    machine->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
}

#elif defined(__aarch64__)

/* User space has no trap flag. A load or store goes on to the instruction behind it, so a breakpoint there will do. */
enum { BREAKPOINT = 0xd4200000, ESR_WRITE = 1 << 6 };

static uint32_t *patched;
static uint32_t original;

static int is_write(ucontext_t *machine)
{
    const uint8_t *at = machine->uc_mcontext.__reserved;
    const struct _aarch64_ctx *record = (const struct _aarch64_ctx *)at;

    for (; record->magic; at += record->size, record = (const struct _aarch64_ctx *)at)
        if (record->magic == ESR_MAGIC)
            return (((const struct esr_context *)record)->esr & ESR_WRITE) != 0;
    return 0;
}

static void patch(uint32_t *at, uint32_t instruction)
{
    uintptr_t text = (uintptr_t)at & ~(page_size - 1);

    mprotect((void *)text, page_size, PROT_READ | PROT_WRITE | PROT_EXEC);
    *at = instruction;
    __builtin___clear_cache((char *)at, (char *)(at + 1));
    mprotect((void *)text, page_size, PROT_READ | PROT_EXEC);
}

static void step(ucontext_t *machine)
{
    patched = (uint32_t *)machine->uc_mcontext.pc + 1;
    original = *patched;
    patch(patched, BREAKPOINT);
}

static void stepped(ucontext_t *machine)
{
    (void)machine; /* it stands on the breakpoint, and goes on with what was there */
    patch(patched, original);
}

#endif

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
        log_of[count].write = is_write(machine);
        memcpy(before, (void *)((uintptr_t)at & ~63ul), 64);
    }
    count++;
    step(machine);
}

static void on_trap(int number, siginfo_t *info, void *context)
{
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
    stepped(context);
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

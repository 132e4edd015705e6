/* SPDX-License-Identifier: Apache-2.0 */
/* ST64B for an emulated process (LD_PRELOAD): QEMU does not know the instruction. It raises SIGILL, and the handler stores
 * the 64 bytes of its eight registers, in eight pieces, where its address register points: so what is shown is what our
 * code puts into the registers, and not that the store is one. The kernel's word that the processor has the instruction
 * is given too; with ST64B=claimed in the environment that is all.
 *
 * Encoding: Arm ARM DDI 0487, C6.2 "ST64B"; HWCAP3_LS64: Linux' Documentation/arch/arm64/elf_hwcaps.rst. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

enum { TYPE_HWCAP3 = 29, HWCAP3_BIT_LS64 = 3 };
enum { OPCODE = 0xf83f9000, OPERANDS = 0x3ff, STACK_POINTER = 31, LAST_FIRST = 22 };

/* What was carried out, for the test. */
uint64_t st64b_count;
uint64_t st64b_last;

unsigned long getauxval(unsigned long type)
{
    unsigned long (*own)(unsigned long) = (unsigned long (*)(unsigned long))dlsym(RTLD_NEXT, "getauxval");

    return own(type) | (type == TYPE_HWCAP3 ? 1ul << HWCAP3_BIT_LS64 : 0);
}

static void give_up(int number)
{
    signal(number, SIG_DFL); /* it is executed again, and ends the program */
}

static void carry_out(int number, siginfo_t *info, void *context)
{
    mcontext_t *machine = &((ucontext_t *)context)->uc_mcontext;
    uint32_t instruction = *(const uint32_t *)machine->pc;
    unsigned first = instruction & 31, base = instruction >> 5 & 31;
    uint64_t to;

    (void)info;
    /* The first register is even, and seven follow it. */
    if ((instruction & ~(uint32_t)OPERANDS) != OPCODE || first & 1 || first > LAST_FIRST) {
        give_up(number);
        return;
    }
    to = base == STACK_POINTER ? machine->sp : machine->regs[base];
    if (to & 63) { /* an alignment fault */
        give_up(number);
        return;
    }
    for (unsigned i = 0; i < 8; i++)
        ((volatile uint64_t *)to)[i] = machine->regs[first + i];
    st64b_count++;
    st64b_last = to;
    machine->pc += sizeof instruction;
}

__attribute__((constructor)) static void install(void)
{
    struct sigaction action = {.sa_sigaction = carry_out, .sa_flags = SA_SIGINFO};
    const char *what = getenv("ST64B");

    if (!what || strcmp(what, "claimed"))
        sigaction(SIGILL, &action, NULL);
}

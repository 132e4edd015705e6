// SPDX-License-Identifier: Apache-2.0
/*
 * MOVDIR64B for a program on a processor that lacks it, preloaded into that program: QEMU's software emulation does not
 * know the instruction, and DPDK's event/dlb2 submits work with nothing else and looks at no processor flag.
 *
 * An instruction that is executed first raises SIGILL. Its 64 bytes are stored as eight times 8, which is how they reach
 * a vfio-user server in any case, and the program goes on behind it. movdir64b.c does the same for the guest's kernel.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

/* The registers by the numbers that instructions have for them. */
static const int numbered[16] = {
	REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
	REG_R8,	 REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
};

static void refuse(int number)
{
	static const char why[] = "movdir64b: an illegal instruction that is no MOVDIR64B known here\n";

	if (write(STDERR_FILENO, why, sizeof(why) - 1) > 0)
		signal(number, SIG_DFL); /* it is executed again, and ends the program */
	else
		_exit(128 + number);
}

/* 66 [REX] 0F 38 F8 /r: to the address in the register, from the memory operand (Intel SDM, volume 2B). */
static void store64(int number, siginfo_t *info, void *context)
{
	static const uint8_t opcode[] = {0x0f, 0x38, 0xf8};
	greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
	const uint8_t *at = (const uint8_t *)regs[REG_RIP];
	volatile uint64_t *to;
	const uint64_t *from;
	int32_t far = 0;
	uint8_t rex = 0, mode, base;
	int i;

	(void)info;
	if (*at++ != 0x66)
		return refuse(number);
	if ((*at & 0xf0) == 0x40)
		rex = *at++;
	if (memcmp(at, opcode, sizeof(opcode)))
		return refuse(number);
	at += sizeof(opcode);
	mode = *at >> 6;
	base = *at & 7;
	to = (volatile uint64_t *)regs[numbered[(*at >> 3 & 7) | (rex & 4) << 1]];
	at++;
	/* Known are a register and its displacement; neither an index (4) nor an address without register (5, mode 0). */
	if (mode == 3 || base == 4 || (mode == 0 && base == 5))
		return refuse(number);
	if (mode == 1) {
		far = (int8_t)*at++;
	} else if (mode == 2) {
		memcpy(&far, at, sizeof(far));
		at += sizeof(far);
	}
	from = (const uint64_t *)(regs[numbered[base | (rex & 1) << 3]] + far);
	for (i = 0; i < 8; i++)
		to[i] = from[i];
	regs[REG_RIP] = (greg_t)at;
}

__attribute__((constructor)) static void install(void)
{
	struct sigaction action = {.sa_sigaction = store64, .sa_flags = SA_SIGINFO};

	sigaction(SIGILL, &action, NULL);
}

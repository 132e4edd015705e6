// SPDX-License-Identifier: Apache-2.0
/*
 * MOVDIR64B for a program on a processor that lacks it, preloaded into that program: QEMU's software emulation does not
 * know the instruction, and DPDK's event/dlb2 submits work with nothing else and looks at no processor flag.
 *
 * An instruction that is executed first raises SIGILL. Its 64 bytes are stored as eight times 8, which is how they reach
 * a vfio-user server in any case, and the program goes on behind it. A signal costs an emulated processor as much as
 * the eight stores, so where that can be done the instruction becomes a jump to code that does the same.
 * movdir64b.c does this, without the jump, for the guest's kernel.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#define PAGE 4096UL
#define LINE 64UL
#define CODE 160 /* bytes of one instruction's replacement, at most */
#define JUMP 5
#define JUMP_OPCODE 0xe9

/* The registers by the numbers that instructions have for them. */
static const int numbered[16] = {
	REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
	REG_R8,	 REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
};

/* From the address in `from` plus `far` to the address in `to`. Ends at `end`. */
struct movdir64b {
	uint8_t *start, *end;
	int to, from;
	int32_t far;
};

/* 66 [REX] 0F 38 F8 /r (Intel SDM, volume 2B). Known are memory operands of a register and a displacement. */
static int decode(uint8_t *at, struct movdir64b *found)
{
	static const uint8_t opcode[] = {0x0f, 0x38, 0xf8};
	uint8_t rex = 0, mode, base;

	found->start = at;
	found->far = 0;
	if (*at++ != 0x66)
		return 0;
	if ((*at & 0xf0) == 0x40)
		rex = *at++;
	if (memcmp(at, opcode, sizeof(opcode)))
		return 0;
	at += sizeof(opcode);
	mode = *at >> 6;
	base = *at & 7;
	found->to = (*at++ >> 3 & 7) | (rex & 4) << 1;
	found->from = base | (rex & 1) << 3;
	if (mode == 3 || base == 4 || (mode == 0 && base == 5)) /* a register, an index, an address alone */
		return 0;
	if (mode == 1) {
		found->far = (int8_t)*at++;
	} else if (mode == 2) {
		memcpy(&found->far, at, sizeof(found->far));
		at += sizeof(found->far);
	}
	found->end = at;
	return 1;
}

/* MOV between `data` and memory at `base` plus `far`: 0x8b loads, 0x89 stores. */
static uint8_t *move(uint8_t *at, uint8_t opcode, int data, int base, int32_t far)
{
	*at++ = 0x48 | (data >> 3) << 2 | base >> 3;
	*at++ = opcode;
	*at++ = 0x80 | (data & 7) << 3 | (base & 7);
	memcpy(at, &far, sizeof(far));
	return at + sizeof(far);
}

/* JMP from `from` to `to`, written to `at`. */
static void jump(uint8_t *at, const uint8_t *from, const uint8_t *to)
{
	int32_t far = (int32_t)(to - (from + JUMP));

	*at = JUMP_OPCODE;
	memcpy(at + 1, &far, sizeof(far));
}

/* Where CODE bytes can be written that a jump from `near` reaches, or NULL. */
static uint8_t *room(const uint8_t *near)
{
	static uint8_t *page, *free;
	uintptr_t hint = (uintptr_t)near & -PAGE;
	int tries;

	if (page && free + CODE <= page + PAGE && free - near < INT32_MAX && near - free < INT32_MAX) {
		free += CODE;
		return free - CODE;
	}
	for (tries = 0; tries < 1024; tries++) {
		hint -= 256 * PAGE;
		page = mmap((void *)hint, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
		if (page != MAP_FAILED) {
			free = page + CODE;
			return page;
		}
	}
	page = NULL;
	return NULL;
}

/* Turns the instruction into a jump to code that stores the same. Left alone where that is not one store of 8 bytes. */
static void replace(const struct movdir64b *one)
{
	static const uint8_t down[] = {0x48, 0x8d, 0x64, 0x24, 0x80}, /* rsp -= 128: below it is the function's */
		up[] = {0x48, 0x8d, 0xa4, 0x24, 0x80, 0, 0, 0};
	uint8_t *page = (uint8_t *)((uintptr_t)one->start & -PAGE), *code, *at;
	uint64_t whole;
	int i, data = 1;

	if ((one->to & 7) == 4 || (uintptr_t)one->start % LINE > LINE - sizeof(whole))
		return;
	code = at = room(one->start);
	if (!code || mprotect(page, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC))
		return;
	while (data == one->to || data == one->from)
		data++;
	memcpy(at, down, sizeof(down));
	at += sizeof(down);
	*at++ = 0x50 + data; /* push */
	for (i = 0; i < 8; i++) {
		at = move(at, 0x8b, data, one->from, one->far + 8 * i);
		at = move(at, 0x89, data, one->to, 8 * i);
	}
	*at++ = 0x58 + data; /* pop */
	memcpy(at, up, sizeof(up));
	at += sizeof(up);
	jump(at, at, one->end);
	memcpy(&whole, one->start, sizeof(whole));
	jump((uint8_t *)&whole, one->start, code);
	*(volatile uint64_t *)one->start = whole;
	mprotect(page, PAGE, PROT_READ | PROT_EXEC);
}

static void store64(int number, siginfo_t *info, void *context)
{
	static const char why[] = "movdir64b: an illegal instruction that is no MOVDIR64B known here\n";
	static volatile int busy;
	greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
	uint8_t *at = (uint8_t *)regs[REG_RIP];
	volatile uint64_t *to;
	const uint64_t *from;
	struct movdir64b one;
	int i;

	(void)info;
	if (*at == JUMP_OPCODE) /* another thread was here first */
		return;
	if (!decode(at, &one)) {
		if (write(STDERR_FILENO, why, sizeof(why) - 1) < 0)
			_exit(128 + number);
		signal(number, SIG_DFL); /* it is executed again, and ends the program */
		return;
	}
	to = (volatile uint64_t *)regs[numbered[one.to]];
	from = (const uint64_t *)(regs[numbered[one.from]] + one.far);
	for (i = 0; i < 8; i++)
		to[i] = from[i];
	regs[REG_RIP] = (greg_t)one.end;
	if (!__atomic_exchange_n(&busy, 1, __ATOMIC_ACQUIRE)) {
		if (*at != JUMP_OPCODE)
			replace(&one);
		__atomic_store_n(&busy, 0, __ATOMIC_RELEASE);
	}
}

__attribute__((constructor)) static void install(void)
{
	struct sigaction action = {.sa_sigaction = store64, .sa_flags = SA_SIGINFO};

	sigaction(SIGILL, &action, NULL);
}

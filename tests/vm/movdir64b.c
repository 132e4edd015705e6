// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * MOVDIR64B for a processor that lacks it, in the lab's guest kernel: QEMU's software emulation does not know the
 * instruction, and Linux' idxd driver submits work with nothing else.
 *
 * With `setcpuid=movdir64b` on the command line the kernel believes to have it. The first use then ends in #UD, which
 * exc_invalid_op() offers to the die notifiers before anything else; this one stores the 64 bytes as eight times 8,
 * which is how they reach a vfio-user server in any case, and goes on behind the instruction. Kernel code only.
 */
#include <linux/init.h>
#include <linux/io.h>
#include <linux/kdebug.h>
#include <linux/notifier.h>
#include <asm/insn.h>
#include <asm/insn-eval.h>
#include <asm/ptrace.h>
#include <asm/trapnr.h>

/* MOVDIR64B is 66 0F 38 F8 /r: to the address in the register, from the memory operand (Intel SDM, volume 2B). */
static bool is_movdir64b(struct insn *insn)
{
	return insn->opcode.nbytes == 3 && insn->opcode.bytes[0] == 0x0f && insn->opcode.bytes[1] == 0x38 &&
	       insn->opcode.bytes[2] == 0xf8 && insn_last_prefix_id(insn) == 1;
}

static int store64(struct notifier_block *block, unsigned long event, void *data)
{
	struct die_args *args = data;
	struct pt_regs *regs = args->regs;
	unsigned long *to;
	const u64 *from;
	struct insn insn;
	int i;

	if (event != DIE_TRAP || args->trapnr != X86_TRAP_UD || user_mode(regs))
		return NOTIFY_DONE;
	if (insn_decode_kernel(&insn, (void *)regs->ip) || !is_movdir64b(&insn))
		return NOTIFY_DONE;
	from = (const u64 __force *)insn_get_addr_ref(&insn, regs);
	to = insn_get_modrm_reg_ptr(&insn, regs);
	if ((long)from == -1L || !to)
		return NOTIFY_DONE;
	for (i = 0; i < 8; i++)
		writeq(from[i], (void __iomem *)*to + 8 * i);
	regs->ip += insn.length;
	return NOTIFY_STOP;
}

static struct notifier_block notifier = { .notifier_call = store64 };

static int __init movdir64b_init(void)
{
	return register_die_notifier(&notifier);
}
arch_initcall(movdir64b_init);

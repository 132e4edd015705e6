/* SPDX-License-Identifier: Apache-2.0 */
/* Presses Ctrl-C at the n-th instruction that the interpreter executes in this thread. A trace function of Python's C
 * interface (PyEval_SetTrace), so that nothing of its own is traced or interrupted. Test code. */
#include <signal.h>

enum { CALL = 0, OPCODE = 7 }; /* PyTrace_CALL, PyTrace_OPCODE */

extern int PyObject_SetAttrString(void *object, const char *name, void *value);

static long at, seen;
static void *yes;

void interrupter_begin(long instruction, void *true_object)
{
    at = instruction;
    seen = 0;
    yes = true_object;
}

long interrupter_seen(void)
{
    return seen;
}

int interrupter_step(void *self, void *frame, int what, void *argument)
{
    (void)self;
    (void)argument;
    if (what == CALL)
        return PyObject_SetAttrString(frame, "f_trace_opcodes", yes);
    if (what == OPCODE && seen++ == at)
        raise(SIGINT);
    return 0;
}

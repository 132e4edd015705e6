/* SPDX-License-Identifier: Apache-2.0 */
/* What is called so often that cffi's conversions and Python's frames would cost more than the work: functions that
 * take Python's objects as they are, with Python's stable interface. They are a second module, _calls, in the file of
 * the first. No instruction of Python's comes between two steps of such a function, and so no Ctrl-C. */
#define Py_LIMITED_API 0x030b0000
#include <Python.h>
#include <stdint.h>
#include <string.h>

#include "events.h"
#include "memory.h"
#include "row_plan.h"
#include "status.h"
#include "window.h"

enum { NOT_SO = 1 }; /* no access_status */

/* What a hub has its loops call, as Poller.reader makes it. */
enum hub_state { POLLER, TOKENS, COUNTS, KEYS, SINKS, WATCH, BY, ACQUIRE, RELEASE, DRAIN, FIELDS };

static void *pointer_in(PyObject *state, int field)
{
    return PyLong_AsVoidPtr(PyTuple_GetItem(state, field));
}

static int call(PyObject *callable)
{
    PyObject *result = PyObject_CallNoArgs(callable);

    Py_XDECREF(result);
    return result ? 0 : -1;
}

/* Give the count of a token to its sink; nothing where it was removed. */
static int deliver(PyObject *state, int64_t token, uint64_t count)
{
    PyObject *number = PyLong_FromLongLong(token), *drained = PyLong_FromUnsignedLongLong(count);
    PyObject *key, *sink = NULL, *result = NULL;
    int status = -1;

    if (number && drained) {
        key = PyDict_GetItemWithError(PyTuple_GetItem(state, KEYS), number);
        sink = key ? PyDict_GetItemWithError(PyTuple_GetItem(state, SINKS), key) : NULL;
        Py_XINCREF(sink);
        if (sink)
            result = PyObject_CallFunctionObjArgs(sink, drained, NULL);
        status = result || !(sink || PyErr_Occurred()) ? 0 : -1;
    }
    Py_XDECREF(result);
    Py_XDECREF(sink);
    Py_XDECREF(drained);
    Py_XDECREF(number);
    return status;
}

/* With the hub's lock: 1 where there was one event, and it was delivered; 0 where it is for others to look; -1. */
static int deliver_one(PyObject *state)
{
    struct poller *poller = pointer_in(state, POLLER);
    int64_t *tokens = pointer_in(state, TOKENS);
    uint64_t *counts = pointer_in(state, COUNTS);

    if (PyErr_Occurred())
        return -1;
    if (poller_take_some(poller, EVENTS_AT_ONCE, tokens, counts) != 1)
        return 0; /* several: they are taken again */
    if (deliver(state, tokens[0], counts[0]) < 0) {
        if (PyErr_ExceptionMatches(PyExc_Exception))
            __atomic_store_n(poller_taken(poller), 0, __ATOMIC_SEQ_CST); /* else Ctrl-C: the next one delivers it */
        poller_nudge(poller);
        return -1;
    }
    __atomic_store_n(poller_taken(poller), 0, __ATOMIC_SEQ_CST);
    return 1;
}

static int watched(PyObject *state)
{
    PyObject *by = PyObject_GetAttr(PyTuple_GetItem(state, WATCH), PyTuple_GetItem(state, BY));
    int result = by == Py_None ? 0 : by ? 1 : -1;

    Py_XDECREF(by);
    return result;
}

static _Thread_local PyObject *draining_loop; /* borrowed from the call that drains; NULL: none of this thread */

/* draining(): the loop whose reader this thread is in, or None. */
static PyObject *draining(PyObject *module, PyObject *nothing)
{
    (void)module;
    (void)nothing;
    return Py_NewRef(draining_loop ? draining_loop : Py_None);
}

static PyObject *drain(PyObject *state)
{
    PyObject *kind, *error, *trace;
    int found = watched(state);

    if (found < 0)
        return NULL;
    if (found == 0) {
        if (call(PyTuple_GetItem(state, ACQUIRE)) < 0)
            return NULL;
        found = deliver_one(state);
        PyErr_Fetch(&kind, &error, &trace);
        if (call(PyTuple_GetItem(state, RELEASE)) < 0)
            return NULL;
        PyErr_Restore(kind, error, trace);
        if (found)
            return found < 0 ? NULL : Py_NewRef(Py_None);
    }
    return PyObject_CallNoArgs(PyTuple_GetItem(state, DRAIN));
}

/* drain_one(state, loop): the reader of a loop. */
static PyObject *drain_one(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    PyObject *result, *before = draining_loop;

    (void)module;
    if (count != 2 || !PyTuple_Check(args[0]) || PyTuple_Size(args[0]) != FIELDS)
        return PyErr_Format(PyExc_TypeError, "drain_one takes the hub's state and a loop");
    draining_loop = args[1];
    result = drain(args[0]);
    draining_loop = before;
    return result;
}

/* --- rows ------------------------------------------------------------------------------------------------------- */

enum {
    VALUES = 3, /* columns of values that a call may give */
    FEW = 1024, /* rows that are stored before another thread could have the GIL */
};

/* The buffers of one call: they are given back at its end. */
struct held {
    Py_buffer views[VALUES];
    int count;
};

static void let_go(struct held *held)
{
    while (held->count)
        PyBuffer_Release(&held->views[--held->count]);
}

/* The next buffer, NULL where the array has none: with the error set. */
static Py_buffer *hold(struct held *held, PyObject *array)
{
    Py_buffer *view = &held->views[held->count];

    if (PyObject_GetBuffer(array, view, PyBUF_FORMAT) < 0)
        return NULL;
    held->count++;
    return view;
}

/* Whether it has as many bytes as the plan's column of values takes. */
static int fits(const struct row_plan *plan, unsigned long column, const Py_buffer *view)
{
    return column < VALUES && column < plan->column_count &&
           (uint64_t)view->len == plan->count * plan->columns[column].width;
}

/* Whether its numbers are of the column's usual kind. */
static int usual(const struct row_column *column, const char *format)
{
    return format && format[0] == (column->width == 8 ? 'Q' : 'I') && format[1] == 0;
}

static int64_t store_again(struct window *window, struct row_plan *plan, const void *const values[VALUES])
{
    int64_t stored;

    if (plan->count <= FEW)
        return row_plan_again_with(window, plan, values[0], values[1], values[2]);
    Py_BEGIN_ALLOW_THREADS
    stored = row_plan_again_with(window, plan, values[0], values[1], values[2]);
    Py_END_ALLOW_THREADS
    return stored;
}

static int is_array(PyObject *given, PyObject *array_type)
{
    return (PyObject *)Py_TYPE(given) == array_type;
}

/* submit_plan((window, plan, type of arrays), places, source, destination, size): row_plan_again_with's answer, with
 * those that are not None in the columns that `places`, bytes, says; 0 where they are not what the plan has there. */
static PyObject *submit_plan(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    const void *values[VALUES] = {NULL, NULL, NULL};
    struct held held = {.count = 0};
    struct window *window;
    struct row_plan *plan;
    const char *places;
    int64_t stored = 0;
    int n = 0;

    (void)module;
    if (count != 2 + VALUES || !PyTuple_Check(args[0]) || PyTuple_Size(args[0]) != 3 || !PyBytes_Check(args[1]) ||
        PyBytes_Size(args[1]) != VALUES)
        return PyErr_Format(PyExc_TypeError, "submit_plan takes a plan, its places and three columns");
    window = pointer_in(args[0], 0);
    plan = pointer_in(args[0], 1);
    places = PyBytes_AsString(args[1]);
    if (PyErr_Occurred())
        return NULL;
    for (; n < VALUES; n++) {
        Py_buffer *view;
        if (args[2 + n] == Py_None)
            continue;
        if (!is_array(args[2 + n], PyTuple_GetItem(args[0], 2)))
            break;
        view = hold(&held, args[2 + n]);
        if (!view || !fits(plan, (unsigned char)places[n], view) ||
            !usual(&plan->columns[(unsigned char)places[n]], view->format))
            break;
        values[(unsigned char)places[n]] = view->buf;
    }
    if (n == VALUES)
        stored = store_again(window, plan, values);
    let_go(&held);
    return PyErr_Occurred() ? NULL : PyLong_FromLongLong(stored);
}

/* What submit_many of one session needs: the session's pool, a type of results, and the names of what is set in them.
 * `last`, a list of one, has the key that was found last with what `ready` lists for it. Then submit_many's method of
 * Python's, the names of its keywords and what they are without, and who does what is not done here. */
enum pool_state {
    ARRAY, READY, LAST, RESULTS, OWNER, CALL, CLOSED, WORK, METHOD, NAMES, DEFAULTS, OTHERWISE, POOL_FIELDS
};
/* submit_many's arguments. Works are alike by them: last of all, what a column says is a number itself, of an array its
 * kind, as bytes. */
enum key { OPCODE, COLUMN, FLAGS = COLUMN + VALUES, SPECIFIC, NAME, KEY_FIELDS };

/* What a work is laid out for of an array, beside where it is. */
struct kind {
    uint64_t size, format;
};

/* What was given: `own` as the key has it, NULL where a column is an array, of this kind. */
struct given {
    PyObject *arguments[KEY_FIELDS], *own[KEY_FIELDS];
    struct kind kinds[VALUES];
    const void *values[VALUES]; /* the arrays', in their order */
    struct held held;
};

/* Which of submit_many's keywords it is; their number where it is none. */
static int keyword(PyObject *known, PyObject *name)
{
    for (int n = 0; n < KEY_FIELDS - 1; n++)
        if (PyTuple_GetItem(known, n) == name)
            return n;
    for (int n = 0; n < KEY_FIELDS - 1; n++)
        if (PyUnicode_Compare(PyTuple_GetItem(known, n), name) == 0)
            return n;
    return KEY_FIELDS - 1;
}

/* Whether submit_many takes such arguments: the first, and others by their names. */
static int take(PyObject *state, struct given *given, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    PyObject *known = PyTuple_GetItem(state, NAMES), *defaults = PyTuple_GetItem(state, DEFAULTS);
    Py_ssize_t named = names ? PyTuple_Size(names) : 0;

    if (count != 1)
        return 0;
    given->arguments[OPCODE] = args[OPCODE];
    for (int at = 1; at < KEY_FIELDS; at++)
        given->arguments[at] = PyTuple_GetItem(defaults, at - 1);
    for (Py_ssize_t n = 0; n < named; n++) {
        int found = keyword(known, PyTuple_GetItem(names, n));
        if (1 + found == KEY_FIELDS)
            return 0;
        given->arguments[1 + found] = args[1 + n];
    }
    return 1;
}

/* Whether it can be looked up: numbers, and arrays that give their buffers. Else the error set, or not. */
static int look_at(struct given *given, PyObject *array_type)
{
    memcpy(given->own, given->arguments, sizeof given->own);
    for (int n = 0; n < VALUES; n++) {
        PyObject *column = given->own[COLUMN + n];
        Py_buffer *view;
        if (PyLong_CheckExact(column)) /* a subclass may say that it equals an array's kind */
            continue;
        view = is_array(column, array_type) ? hold(&given->held, column) : NULL;
        if (!view || !view->format)
            return 0;
        given->own[COLUMN + n] = NULL;
        given->kinds[n] = (struct kind){(uint64_t)view->len, (unsigned char)view->format[0]};
        given->values[given->held.count - 1] = view->buf;
    }
    return PyLong_Check(given->own[OPCODE]) && PyLong_Check(given->own[FLAGS]) &&
           PyBytes_CheckExact(given->own[SPECIFIC]) && PyUnicode_CheckExact(given->own[NAME]);
}

/* Whether `key` is of the very same objects, and of arrays of the same kinds: then it is equal, too. */
static int same_as(const struct given *given, PyObject *key)
{
    for (int n = 0; n < KEY_FIELDS; n++) {
        PyObject *part = PyTuple_GetItem(key, n);
        if (given->own[n] ? part != given->own[n]
                          : !PyBytes_Check(part) ||
                                memcmp(PyBytes_AsString(part), &given->kinds[n - COLUMN], sizeof(struct kind)) != 0)
            return 0;
    }
    return 1;
}

static PyObject *key_of(const struct given *given)
{
    PyObject *key = PyTuple_New(KEY_FIELDS);

    for (int n = 0; key && n < KEY_FIELDS; n++) {
        PyObject *part = given->own[n] ? Py_NewRef(given->own[n])
                                       : PyBytes_FromStringAndSize((const char *)&given->kinds[n - COLUMN],
                                                                   sizeof(struct kind));
        if (!part || PyTuple_SetItem(key, n, part) < 0)
            Py_CLEAR(key);
    }
    return key;
}

/* The works that are ready for what was given, NULL where there never were any; `key`, what they are found by. The
 * error set, or not. */
static PyObject *find_ready(PyObject *state, const struct given *given, PyObject **key)
{
    PyObject *last = PyTuple_GetItem(state, LAST), *found = PyList_GetItem(last, 0), *works;

    if (found && PyTuple_Check(found) && same_as(given, PyTuple_GetItem(found, 0))) {
        *key = Py_NewRef(PyTuple_GetItem(found, 0));
        return Py_NewRef(PyTuple_GetItem(found, 1));
    }
    *key = key_of(given);
    works = *key ? Py_XNewRef(PyDict_GetItemWithError(PyTuple_GetItem(state, READY), *key)) : NULL;
    found = works ? PyTuple_Pack(2, *key, works) : NULL;
    if (found && PyList_SetItem(last, 0, found) == 0)
        return works;
    Py_XDECREF(works);
    return NULL;
}

static int set(PyObject *state, PyObject *object, int name, PyObject *value)
{
    return PyObject_SetAttr(object, PyTuple_GetItem(state, name), value);
}

/* Results, as its __init__ would make them, of a work that they own. */
static PyObject *results_of(PyObject *state, PyObject *work)
{
    PyObject *results = PyType_GenericAlloc((PyTypeObject *)PyTuple_GetItem(state, RESULTS), 0);
    PyObject *owner = results ? PyWeakref_NewRef(results, NULL) : NULL;
    int status = owner ? set(state, results, CLOSED, Py_False) : -1;

    if (status == 0)
        status = set(state, work, OWNER, owner);
    if (status == 0)
        status = set(state, results, WORK, work);
    Py_XDECREF(owner);
    if (status == 0)
        return results;
    Py_XDECREF(results);
    return NULL;
}

/* The last of the works, taken from their list. NULL where there is none: the error set, or not. */
static PyObject *pop_ready(PyObject *works)
{
    Py_ssize_t size = works ? PyList_Size(works) : 0;
    PyObject *work;

    if (size <= 0)
        return NULL;
    work = Py_NewRef(PyList_GetItem(works, size - 1));
    if (PyList_SetSlice(works, size - 1, size, NULL) == 0)
        return work;
    Py_DECREF(work);
    return NULL;
}

/* Submit the work with what was given: what row_plan_again_with answers; `all`: whether that is all of them. */
static int64_t submit_work(PyObject *state, PyObject *work, const struct given *given, int *all)
{
    PyObject *call = PyObject_GetAttr(work, PyTuple_GetItem(state, CALL));
    struct window *window = call ? pointer_in(call, 0) : NULL;
    struct row_plan *plan = window ? pointer_in(call, 1) : NULL;
    int fit = plan != NULL;
    int64_t stored;

    Py_XDECREF(call);
    for (int n = 0; fit && n < given->held.count; n++)
        fit = fits(plan, (unsigned long)n, &given->held.views[n]);
    stored = fit ? store_again(window, plan, given->values) : 0;
    *all = fit && stored > 0 && (uint64_t)stored == plan->count;
    return stored;
}

/* Submit one of the works: its results, NULL where none was ready; the error set, or not. They own the work before
 * anything is submitted: who breaks off later leaves a work whose owner is gone. */
static PyObject *submit_ready(PyObject *state, PyObject *works, const struct given *given, int64_t *answer, int *all)
{
    PyObject *work = pop_ready(works), *results = work ? results_of(state, work) : NULL;

    if (results)
        *answer = submit_work(state, work, given, all);
    Py_XDECREF(work);
    return results;
}

/* lay_out_and_submit's work: given (key, results, answer), with None for what there is not, and the arguments. */
static PyObject *otherwise(PyObject *state, PyObject *key, PyObject *results, int64_t answer, const struct given *given)
{
    PyObject *const *own = given->arguments;
    PyObject *answered = Py_BuildValue("(OOL)", key ? key : Py_None, results ? results : Py_None, (long long)answer);
    PyObject *arguments = PyTuple_Pack(KEY_FIELDS, own[0], own[1], own[2], own[3], own[4], own[5], own[6]);
    PyObject *result = NULL;

    if (answered && arguments)
        result = PyObject_CallFunctionObjArgs(PyTuple_GetItem(state, OTHERWISE), answered, arguments, NULL);
    Py_XDECREF(answered);
    Py_XDECREF(arguments);
    return result;
}

/* Call the method with them: it says what is wrong, or calls with names. */
static PyObject *by_method(PyObject *state, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    PyObject *arguments = PyTuple_New(count), *keywords = PyDict_New(), *result = NULL;
    Py_ssize_t named = names ? PyTuple_Size(names) : 0;
    int status = arguments && keywords ? 0 : -1;

    for (Py_ssize_t n = 0; status == 0 && n < count; n++)
        status = PyTuple_SetItem(arguments, n, Py_NewRef(args[n]));
    for (Py_ssize_t n = 0; status == 0 && n < named; n++)
        status = PyDict_SetItem(keywords, PyTuple_GetItem(names, n), args[count + n]);
    if (status == 0)
        result = PyObject_Call(PyTuple_GetItem(state, METHOD), arguments, keywords);
    Py_XDECREF(arguments);
    Py_XDECREF(keywords);
    return result;
}

static PyObject *submit_many(PyObject *state, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    PyObject *key = NULL, *works = NULL, *results = NULL, *result = NULL;
    struct given given = {.held = {.count = 0}};
    int64_t answer = 0;
    int all = 0;

    if (!take(state, &given, args, count, names))
        return by_method(state, args, count, names);
    if (look_at(&given, PyTuple_GetItem(state, ARRAY)))
        works = find_ready(state, &given, &key);
    if (!PyErr_Occurred())
        results = submit_ready(state, works, &given, &answer, &all);
    let_go(&given.held);
    if (!PyErr_Occurred())
        result = all ? Py_NewRef(results) : otherwise(state, key, results, answer, &given);
    Py_XDECREF(results);
    Py_XDECREF(works);
    Py_XDECREF(key);
    return result;
}

static PyMethodDef many = {
    "submit_many",
    (PyCFunction)(void (*)(void))submit_many,
    METH_FASTCALL | METH_KEYWORDS,
    "submit_many(opcode, *, source=0, destination=0, size=0, flags=0, specific=b'', name='')\n--\n\n"
    "Submit as many descriptors as the arrays have values: see QueueSession.submit_many.",
};

/* submitter(state): submit_many of one session. */
static PyObject *submitter(PyObject *module, PyObject *state)
{
    (void)module;
    if (!PyTuple_Check(state) || PyTuple_Size(state) != POOL_FIELDS)
        return PyErr_Format(PyExc_TypeError, "submitter takes a pool's state");
    return PyCFunction_NewEx(&many, state, NULL);
}

/* collect(first, step, count): the bytes there, where none of them is 0; else None. */
static PyObject *collect(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    uint64_t first, step, wanted, found;
    PyObject *out;

    (void)module;
    if (count != 3)
        return PyErr_Format(PyExc_TypeError, "collect takes an address, a step and a count");
    first = PyLong_AsUnsignedLongLong(args[0]);
    step = PyErr_Occurred() ? 0 : PyLong_AsUnsignedLongLong(args[1]);
    wanted = PyErr_Occurred() ? 0 : PyLong_AsUnsignedLongLong(args[2]);
    out = PyErr_Occurred() || wanted > PY_SSIZE_T_MAX ? NULL : PyByteArray_FromStringAndSize(NULL, (Py_ssize_t)wanted);
    if (!out)
        return PyErr_Occurred() ? NULL : PyErr_NoMemory();
    if (wanted <= FEW) {
        found = memory_collect(first, step, wanted, 0, (uint8_t *)PyByteArray_AsString(out));
    } else {
        uint8_t *to = (uint8_t *)PyByteArray_AsString(out);
        Py_BEGIN_ALLOW_THREADS
        found = memory_collect(first, step, wanted, 0, to);
        Py_END_ALLOW_THREADS
    }
    if (found == wanted)
        return out;
    Py_DECREF(out);
    return Py_NewRef(Py_None);
}

/* --- lists ------------------------------------------------------------------------------------------------------ */

/* lacks(numbers): whether one of them, of 32 bits each, is 0. */
static PyObject *lacks(PyObject *module, PyObject *numbers)
{
    Py_buffer view;
    uint32_t number;
    int none = 0;

    (void)module;
    if (PyObject_GetBuffer(numbers, &view, PyBUF_SIMPLE) < 0)
        return NULL;
    for (Py_ssize_t at = 0; at + 4 <= view.len; at += 4) {
        memcpy(&number, (const char *)view.buf + at, 4);
        none |= number == 0;
    }
    PyBuffer_Release(&view);
    return PyBool_FromLong(none);
}

/* The columns that are in `arrays`, each at its place and of its width as `places` has them, from value `first` on.
 * How many; -1 where they do not have `count` more, or are something else. */
static int columns_of(PyObject *arrays, PyObject *places, uint64_t first, uint64_t count, struct held *held,
                      struct row_column columns[VALUES])
{
    Py_ssize_t size = PyTuple_Check(arrays) ? PyTuple_Size(arrays) : -1;
    const char *place = PyBytes_Check(places) && PyBytes_Size(places) == 2 * size ? PyBytes_AsString(places) : NULL;

    if (!place || size > VALUES)
        return -1;
    for (int n = 0; n < size; n++, place += 2) {
        Py_buffer *view = hold(held, PyTuple_GetItem(arrays, n));
        uint64_t has = view && place[1] > 0 ? (uint64_t)view->len / (uint64_t)place[1] : 0;
        if (!view || first > has || count > has - first)
            return -1;
        columns[n] = (struct row_column){(const char *)view->buf + first * (uint64_t)place[1], 0, 0,
                                         (unsigned char)place[0], (unsigned char)place[1]};
    }
    return (int)size;
}

/* store_list(window, offset, pattern, places, first, count, last, arrays): window_store_list's answer, for `count` values
 * from `first` on of each of the arrays; NOT_SO where something is not as it usually is: then nothing was done. */
static PyObject *store_list(PyObject *module, PyObject *const *args, Py_ssize_t given)
{
    struct row_column columns[VALUES];
    struct held held = {.count = 0};
    uint64_t numbers[4]; /* offset, first, count, last */
    struct window *window;
    int status = NOT_SO, size;

    (void)module;
    if (given != 8 || !PyBytes_Check(args[2]))
        return PyErr_Format(PyExc_TypeError, "store_list takes a window, a list's layout and its columns");
    window = PyLong_AsVoidPtr(args[0]);
    for (int n = 0; n < 4; n++)
        numbers[n] = PyErr_Occurred() ? 0 : PyLong_AsUnsignedLongLong(args[(int[]){1, 4, 5, 6}[n]]);
    size = PyErr_Occurred() ? -1 : columns_of(args[7], args[3], numbers[1], numbers[2], &held, columns);
    if (size >= 0) {
        const char *pattern = PyBytes_AsString(args[2]);
        uint32_t row = (uint32_t)PyBytes_Size(args[2]);
        PyThreadState *others = numbers[2] > FEW ? PyEval_SaveThread() : NULL;
        status = window_store_list(window, numbers[0], pattern, row, numbers[2], columns, (uint32_t)size, numbers[3]);
        if (others)
            PyEval_RestoreThread(others);
    }
    let_go(&held);
    return PyErr_Occurred() ? NULL : PyLong_FromLong(status);
}

/* --- tables ----------------------------------------------------------------------------------------------------- */

enum { STEPS = 16 };

/* The steps of a table, pairs of numbers in tuples, as window_write_table has them: how many; -1 where they are
 * something else, or too many. */
static int steps_of(PyObject *given, uint32_t steps[2 * STEPS])
{
    Py_ssize_t size = PyTuple_Check(given) ? PyTuple_Size(given) : -1;

    if (size < 0 || size > STEPS)
        return -1;
    for (Py_ssize_t n = 0; n < 2 * size; n++) {
        PyObject *step = PyTuple_GetItem(given, n / 2), *part;
        size_t number;
        if (!PyTuple_Check(step) || PyTuple_Size(step) != 2)
            return -1;
        part = PyTuple_GetItem(step, n % 2);
        number = PyLong_Check(part) ? PyLong_AsSize_t(part) : SIZE_MAX;
        if (number > UINT32_MAX)
            return -1;
        steps[n] = (uint32_t)number;
    }
    return (int)size;
}

/* Whether both are whole words at whole addresses, and the second has equally many for each of the first. */
static int words_fit(const Py_buffer *rows, const Py_buffer *words)
{
    return !(((uintptr_t)rows->buf | (uintptr_t)words->buf) & 3) && rows->len > 0 && rows->len % 4 == 0 && words->len % rows->len == 0;
}

/* write_table(window, offset, stride, indices, steps, words): window_write_table's answer; NOT_SO where something is not
 * as it usually is: then nothing was done. */
static PyObject *write_table(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    uint32_t steps[2 * STEPS];
    Py_buffer rows, words;
    struct window *window;
    uint64_t offset, stride;
    int status = NOT_SO, step_count;

    (void)module;
    if (count != 6 || !PyLong_Check(args[1]) || !PyLong_Check(args[2]))
        return PyLong_FromLong(NOT_SO);
    window = PyLong_AsVoidPtr(args[0]);
    offset = PyLong_AsUnsignedLongLong(args[1]);
    stride = PyLong_AsUnsignedLongLong(args[2]);
    step_count = PyErr_Occurred() ? -1 : steps_of(args[4], steps);
    if (step_count >= 0 && PyObject_GetBuffer(args[3], &rows, PyBUF_SIMPLE) == 0) {
        if (PyObject_GetBuffer(args[5], &words, PyBUF_SIMPLE) == 0) {
            if (words_fit(&rows, &words)) {
                Py_BEGIN_ALLOW_THREADS
                status = window_write_table(window, offset, stride, rows.buf, (uint64_t)rows.len / 4, steps,
                                            (uint32_t)step_count, words.buf, (uint32_t)(words.len / rows.len));
                Py_END_ALLOW_THREADS
            }
            PyBuffer_Release(&words);
        }
        PyBuffer_Release(&rows);
    }
    if (PyErr_Occurred()) { /* nothing was done */
        if (!PyErr_ExceptionMatches(PyExc_Exception))
            return NULL;
        PyErr_Clear(); /* who does it otherwise says what is wrong */
    }
    return PyLong_FromLong(status);
}

static PyMethodDef functions[] = {
    {"write_table", (PyCFunction)(void (*)(void))write_table, METH_FASTCALL, NULL},
    {"draining", draining, METH_NOARGS, NULL},
    {"collect", (PyCFunction)(void (*)(void))collect, METH_FASTCALL, NULL},
    {"lacks", lacks, METH_O, NULL},
    {"store_list", (PyCFunction)(void (*)(void))store_list, METH_FASTCALL, NULL},
    {"submitter", submitter, METH_O, NULL},
    {"submit_plan", (PyCFunction)(void (*)(void))submit_plan, METH_FASTCALL, NULL},
    {"drain_one", (PyCFunction)(void (*)(void))drain_one, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef calls = {
    PyModuleDef_HEAD_INIT, "_calls", NULL, 0, functions, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__calls(void)
{
    return PyModuleDef_Init(&calls);
}

# SPDX-License-Identifier: Apache-2.0
"""As a user meets it: the README's examples, bytes that are copied in, errors in words, revoked handles."""

from __future__ import annotations

import asyncio
import os
import re
from array import array
from collections.abc import Callable
from pathlib import Path

import pytest

import vfio_ims
import vfio_ims.drivers.intel_idxd as folder
from tests.intel_idxd.conftest import Opener, model_of
from tests.intel_idxd.memory import PAGE, arena
from vfio_ims.drivers.intel_idxd.driver import Dsa, Iaa
from vfio_ims.drivers.intel_idxd.driver.operation_error import OperationError
from vfio_ims.drivers.intel_idxd.driver.queue_session import DsaQueue
from vfio_ims.drivers.intel_idxd.hardware.completion import Completion
from vfio_ims.drivers.intel_idxd.hardware.descriptors import DsaOpcode
from vfio_ims.drivers.intel_idxd.hardware.registers import Cause, ResetNeeded, State
from vfio_ims.errors import ClosedError, UsageError, VfioImsError

EXAMPLES = re.findall(r"```python\n(.*?)```", (Path(folder.__file__).parent / "README.md").read_text(), re.DOTALL)


def test_the_readmes_first_example_runs() -> None:
    exec(compile(EXAMPLES[0], "README.md", "exec"), {})


def test_the_readmes_stream_runs(opened: Opener) -> None:
    iaa = opened(name="intel-iaa")
    assert isinstance(iaa, Iaa)
    memory = arena(iaa)
    memory.put(0, b"\x01\x05\x00\xfa\xffhello".ljust(1000, b"\0"))
    text = EXAMPLES[2].replace("1000", "6").replace("500", "4")
    names = {"iaa": iaa, "dst": memory.at(PAGE), "src": memory.at(0), "more": memory.at(6)}
    exec(compile(text, "README.md", "exec"), names)
    assert memory.take(PAGE, 4) == b"ello"


def test_the_readmes_plan_runs(dsa: Dsa) -> None:
    memory = arena(dsa, 16 * PAGE)
    memory.fresh(1)
    sources, targets, elsewhere = (array("Q", (memory.at(PAGE * (at + n)) for n in range(4))) for at in (0, 4, 8))
    with dsa.wq(0) as wq, dsa.device.dma.allocate(PAGE) as spare:
        spare.view[:4] = b"else"
        names = {"wq": wq, "DsaOpcode": DsaOpcode, "sources": sources, "targets": targets, "elsewhere": elsewhere}
        exec(
            compile(EXAMPLES[1].replace("1000", "3") + "plan.submit().wait()", "README.md", "exec"),
            names | {"spare": spare},
        )
        assert memory.take(8 * PAGE, 4 * PAGE) == memory.take(0, 4 * PAGE)
        assert memory.take(4 * PAGE, 4) == b"else"
        assert memory.take(5 * PAGE, 3 * PAGE) == memory.take(PAGE, 3 * PAGE)


def test_bytes_are_copied_in_when_asked(dsa: Dsa) -> None:
    memory = arena(dsa)
    before = len(dsa.device.dma.buffers)
    with dsa.wq(0) as wq:
        for data in (b"hello", bytearray(b"world"), memoryview(b"!????")):
            with pytest.raises(UsageError, match=rf"not {type(data).__name__}.*\n.*wq.copied\(data\)"):
                wq.memmove(memory.buffer, data, 5)  # type: ignore[arg-type]
            wq.memmove(memory.buffer, wq.copied(data), 5)
            assert memory.take(0, 5) == bytes(data)
        with pytest.raises(UsageError, match="at most the buffer's 0x5 bytes"):
            wq.memmove(memory.buffer, wq.copied(b"hello"), 6)
        with pytest.raises(UsageError, match="0 bytes"):
            wq.copied(b"")
        in_flight = wq.submit.memmove(memory.buffer, wq.copied(bytes(1 << 20)), PAGE)
    assert in_flight.done
    assert len(dsa.device.dma.buffers) <= before + 1  # the records' own


WRONG: list[tuple[Callable[[DsaQueue], object], str]] = [
    (lambda wq: wq.memmove(0x1000, 0x2000, -1), "size must be a number of 32 bits, not -0x1"),
    (lambda wq: wq.memmove(0x1000, 0x2000, 1 << 33), "size must be a number of 32 bits, not 0x200000000"),
    (lambda wq: wq.memmove(0x1000, 0x2000, 1.5), "size must be a number of 32 bits, not 1.5"),  # type: ignore[arg-type]
    (lambda wq: wq.memmove(-5, 0x2000, 8), "destination must be a number of 64 bits, not -0x5"),
    (lambda wq: wq.memmove(None, 0x2000, 8), "a buffer or an address, not NoneType"),  # type: ignore[arg-type]
    (lambda wq: wq.nop(flags=1 << 24), "flags must be a number of 24 bits, not 0x1000000"),
    (lambda wq: wq.nop(flags=-1), "flags must be a number of 24 bits, not -0x1"),
    (lambda wq: wq.fill(0x1000, "a", 8), "a number or bytes, not str"),  # type: ignore[arg-type]
    (lambda wq: wq.fill(0x1000, -1, 8), "a pattern must fit 64 bits, not -0x1"),
    (lambda wq: wq.fill(0x1000, 1 << 64, 8), "a pattern must fit 64 bits"),
    (lambda wq: wq.fill(0x1000, b"", 8), "1, 2, 4 or 8 bytes, not 0"),
    (lambda wq: wq.crc(0x1000, 8, 1 << 32), "does not fit its field: 0x100000000"),
    (lambda wq: wq.dualcast(0x1000, -1, 0x2000, 8), "does not fit its field: -0x1"),
    (lambda wq: wq.apply_delta(0x1000, 0x2000, -10, 8), "does not fit its field: -0xa"),
    (lambda wq: wq.memmove(wq.copied(bytes(PAGE)), 0x2000, "8"), "size must be a number of 32 bits, not '8'"),  # type: ignore[arg-type]
    (lambda wq: wq.compare(0x1000, 0x2000, 8, expect=2), "expect must be None, 0 or 1, not 2"),
    (lambda wq: wq.dif_insert(0x1000, 0x2000, 512, 512, 5), "tags must be DifTags, not 5"),  # type: ignore[arg-type]
    (lambda wq: wq.drain(readback=0x1000), "readback must be a list of places, not 4096"),  # type: ignore[arg-type]
    (lambda wq: wq.copied("text"), "it must be bytes, or a contiguous array of numbers, not str"),  # type: ignore[arg-type]
    (lambda wq: wq.submit_many(3, source=[1, 2]), "numbers of 8 bytes, not list"),  # type: ignore[arg-type]
    (
        lambda wq: wq.submit_many(3, source=array("I", [1, 2])),
        "not one of 4 bytes each, format 'I'",
    ),
    (
        lambda wq: wq.submit_many(3, source=array("d", [1, 2])),
        "not one of 8 bytes each, format 'd'",
    ),
    (lambda wq: wq.submit_many(3, size=array("Q", [1])), "numbers of 4 bytes"),
    (lambda wq: wq.submit_many("3", size=array("I", [1])), "opcode and flags must be numbers, not '3'"),  # type: ignore[arg-type]
]

WRONG_OF_THE_DRIVER: list[tuple[Callable[[Dsa], object], str]] = [
    (lambda dsa: dsa.wq(1, timeout=None), "timeout must be seconds, not None"),  # type: ignore[arg-type]
    (lambda dsa: dsa.wq(1, timeout=-1), "timeout must be seconds, not -1"),
    (lambda dsa: dsa.wq(1, pasid="5"), "pasid must be None or a number, not '5'"),  # type: ignore[arg-type]
    (lambda dsa: dsa.control.drain(queue=8), "enabled are 0, 1, 2"),
    (lambda dsa: dsa.control.abort(queue=-1), "enabled are 0, 1, 2"),
    (lambda dsa: dsa.control.occupancy(8), "enabled are 0, 1, 2"),
    (lambda dsa: dsa.control.watch_occupancy(0, 4), "there must be an interrupt to raise"),
]


def test_what_cannot_be_is_refused_before_the_device_sees_it(dsa: Dsa) -> None:
    with dsa.wq(0) as wq:
        for run, words in WRONG:
            with pytest.raises(UsageError, match=re.escape(words)):
                run(wq)
            assert wq.nop().ok
            assert dsa.queues[0].in_flight == 0
        for ask, words in WRONG_OF_THE_DRIVER:
            with pytest.raises(UsageError, match=re.escape(words)):
                ask(dsa)
            assert wq.nop().ok
    assert dsa.status() == ""


def test_a_forked_child_gets_an_error_and_does_not_crash(dsa: Dsa) -> None:
    """The child has none of the memory: a look at a record there is a fault."""
    memory = arena(dsa)
    wq = dsa.wq(0)
    operation = wq.submit.memmove(memory.at(PAGE), memory.at(0), PAGE)
    many = wq.submit_many(3, source=array("Q", [memory.at(0)] * 3), destination=memory.at(PAGE), size=64)
    batch = wq.batch()
    batch.nop()
    batch.nop()
    run = batch.run()
    child = os.fork()
    if child == 0:
        refused = 0
        for use in (lambda: operation.done, operation.wait, many.wait, run.wait, lambda: dsa.fired(range(8))):
            try:
                use()
            except ClosedError:
                refused += 1
        wq.close()
        os._exit(refused if "another process" in repr(operation) else 0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
    assert operation.wait().ok
    assert len(many.wait()) == 3
    assert len(run.wait()) == 2
    wq.close()


def test_a_batch_in_a_task(dsa: Dsa) -> None:
    memory = arena(dsa)

    async def main() -> list[Completion]:
        async with dsa.wq(0, "ims") as wq:
            async with wq.batch() as batch:
                batch.fill(memory.at(0), b"\1", PAGE)
                batch.memmove(memory.at(PAGE), memory.at(0), PAGE)
            with pytest.raises(OperationError, match="descriptor 1 of a batch of 2"):
                async with wq.batch() as bad:
                    bad.nop()
                    bad.fill(0x7000_0000, 0, 8)
            with pytest.raises(UsageError, match="size must be a number of 32 bits"):
                async with wq.batch() as worse:
                    worse.nop()
                    worse.fill(memory.at(0), 0, -8)
            return batch.completions

    assert [one.ok for one in asyncio.run(main())] == [True, True]
    assert memory.take(PAGE, PAGE) == b"\1" * PAGE


# --- revoked handles --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["intel-dsa", "intel-iaa"])
@pytest.mark.parametrize("completion", ["ims", "msix"])
def test_work_goes_on_with_other_handles_when_they_are_revoked(opened: Opener, name: str, completion: str) -> None:
    driver = opened("version=2,cmdcap=yes", name)
    model, memory = model_of(driver), arena(driver)

    def revoke() -> None:
        with model.lock:
            model.handles.revoke()
            model.act()

    expected = bytes(memory.fresh(1)[:PAGE])
    with driver.wq(0, completion) as wq, driver.wq(1, "ims") as other:
        for _ in range(4):
            wq.memmove(memory.at(PAGE), memory.at(0), PAGE)
            revoke()
            wq.memmove(memory.at(2 * PAGE), memory.at(0), PAGE)
            in_flight = [queue.submit.nop() for queue in (wq, other, wq, other)]
            revoke()
            in_flight += [queue.submit.nop() for queue in (wq, other)]
            assert all(one.wait().ok for one in in_flight)
            revoke()
            if isinstance(wq, DsaQueue):
                with wq.batch() as batch:
                    batch.fill(memory.at(3 * PAGE), 1, 8)
                    batch.nop()

        async def main() -> None:
            revoke()
            await wq.submit.nop()

        asyncio.run(main())
    assert memory.take(PAGE, 2 * PAGE) == expected * 2
    with driver.ims.allocate() as irq:
        for _ in range(2):
            assert driver.fire(irq.slot).status == "sent"
            assert irq.wait(timeout=1)
            revoke()
        assert driver.fire(irq.slot).status == "sent"
    assert "handles revoked" not in driver.status()


def test_handles_revoked_all_the_time(opened: Opener) -> None:
    dsa = opened("cmdcap=yes,revoke_after=2")
    with dsa.wq(0, "ims") as wq, dsa.wq(1, "ims") as other:
        for _ in range(10):
            first, second = wq.submit.nop(), other.submit.nop()
            assert second.wait().ok
            assert first.wait().ok


def test_a_bad_handle_that_was_not_revoked_is_an_error(opened: Opener) -> None:
    dsa = opened("cmdcap=yes")
    refused = pytest.raises(OperationError, match="its PASID does not match")
    with dsa.ims.allocate(pasid=4) as irq, dsa.wq(0, irq) as wq, refused:
        wq.nop()
    with dsa.wq(0) as wq:
        assert wq.nop().ok


# --- causes and halts -------------------------------------------------------------------------------------------------


def test_every_cause_is_reported_by_name(dsa: Dsa) -> None:
    model = model_of(dsa)
    for cause in set(Cause) - {Cause.COMMAND}:  # that is no news
        with model.lock:
            model.reporter.cause(cause)
        name = cause.name.lower().replace("_", " ")
        assert f"vector 0 was raised for: {name}" in dsa.status()
        dsa.regs.INTCAUSE.write(1 << cause)
        assert dsa.status() == ""


@pytest.mark.parametrize("needed", ResetNeeded)
def test_each_kind_of_halt(dsa: Dsa, needed: ResetNeeded) -> None:
    """What a reset by software or of the function ends, ``reset`` ends; what it cannot is said."""
    dsa.regs.GENCTRL.write(halt=1)
    model = model_of(dsa)
    with dsa.wq(0, timeout=0.05) as wq:
        with dsa.device.interrupts.open_msix(0) as misc:
            with model.lock:
                model.halt(needed)
            assert misc.wait(timeout=1)
        assert "state=halt" in dsa.status()
        assert not needed or f"reset_needed={needed.name.lower()}" in dsa.status()
        assert dsa.regs.GENSTS.read().state == State.HALT
        with pytest.raises(VfioImsError, match="not enabled, and lost"):
            wq.nop()
    dsa.reset()
    assert dsa.status() == ""
    with dsa.wq(0) as wq:
        assert wq.nop().ok


@pytest.mark.parametrize("completion", ["poll", "ims"])
def test_what_outlives_the_driver_can_still_be_looked_at(completion: str) -> None:
    """Closing waits for what is in flight; its records stay while a caller has them. Freed memory would be a crash."""
    with vfio_ims.open_driver("mock:intel-dsa,slots=256,inline=0") as dsa:
        assert isinstance(dsa, Dsa)
        memory = arena(dsa)
        wq = dsa.wq(0, completion)
        slow = wq.submit.memmove(memory.at(PAGE), memory.at(0), PAGE)
        batch = wq.batch()
        batch.nop()
        batch.nop()
        run = batch.run()
        sources = array("Q", [memory.at(0)] * 3)
        many = wq.submit_many(3, source=sources, destination=memory.at(PAGE), size=64)
        harvested = wq.submit_many(3, source=sources, destination=memory.at(PAGE), size=64)
        harvested.wait()
    assert dsa.fired(range(8)) is not None
    assert "no-op" not in repr(slow)
    assert slow.done
    assert slow.wait().ok
    assert all(one.ok for one in run.wait())
    assert many.wait() == harvested.wait() == bytes((1, 1, 1))
    assert harvested.completion(0).ok
    assert len(harvested.words()) == 3
    wq.close()
    for use in (wq.nop, lambda: wq.copied(b"a")):
        with pytest.raises(VfioImsError):
            use()

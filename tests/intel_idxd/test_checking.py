# SPDX-License-Identifier: Apache-2.0
"""CRCs and data integrity fields: against the definitions, bit by bit."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.intel_idxd import oracles
from tests.intel_idxd.conftest import MOUNTS, everywhere, mounted
from tests.intel_idxd.memory import PAGE, Arena, arena, hole
from vfio_ims.drivers.intel_idxd.driver import Dsa
from vfio_ims.drivers.intel_idxd.driver.operation_error import OperationError
from vfio_ims.drivers.intel_idxd.hardware.descriptors import Flag
from vfio_ims.drivers.intel_idxd.hardware.dif import DestinationFlag, DifError, DifFlag, DifTags, SourceFlag
from vfio_ims.drivers.intel_idxd.hardware.status import Status
from vfio_ims.errors import UsageError

SIZE = 8 * PAGE
HALF = SIZE // 2


shared = everywhere(Dsa)


@pytest.fixture(scope="module")
def memory(shared: Dsa) -> Arena:
    return arena(shared, SIZE)


@pytest.fixture(scope="module", params=MOUNTS)
def later(request: pytest.FixtureRequest) -> Iterator[tuple[Dsa, Arena]]:
    """Version 2, which generates DIX."""
    with mounted(request.param, "intel-dsa", ",version=2") as driver:
        assert isinstance(driver, Dsa)
        yield driver, arena(driver, SIZE)


def test_the_check_values_of_the_catalogues(shared: Dsa, memory: Arena) -> None:
    assert oracles.crc32c(b"123456789") == 0xE306_9283
    assert oracles.guard(b"123456789") == 0xD0DB
    memory.put(0, b"123456789")
    with shared.wq(0) as wq:
        assert wq.crc(memory.at(0), 9).crc == 0xE306_9283


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 600), st.integers(0, 70), st.integers(0, 0xFFFF_FFFF), st.booleans(), st.booleans(), st.booleans()
)
def test_crc(
    shared: Dsa, memory: Arena, size: int, at: int, seed: int, bare: bool, plain: bool, from_memory: bool
) -> None:
    data = bytes(memory.fresh(size)[at : at + size])
    register = seed if bare else oracles.mirror(seed ^ 0xFFFF_FFFF, 32)
    register = oracles.crc_bits(data, 0x1EDC_6F41, 32, register, low_bit_first=not plain)
    expected = register if bare else oracles.mirror(register, 32) ^ 0xFFFF_FFFF
    flags = (Flag.CRC_BARE if bare else 0) | (Flag.CRC_PLAIN_DATA if plain else 0)
    how = {"seed": seed, "flags": flags}
    if from_memory:
        memory.put(HALF, seed.to_bytes(4, "little"))
        how = {"seed": 0x1234, "seed_at": memory.at(HALF), "flags": flags | Flag.CRC_READ_SEED}
    with shared.wq(0) as wq:
        assert wq.crc(memory.at(at), size, **how).crc == expected
        assert wq.copy_crc(memory.at(HALF + 64), memory.at(at), size, **how).crc == expected
    assert memory.take(HALF + 64, size) == data


def test_crc_in_parts_is_the_crc_of_the_whole(shared: Dsa, memory: Arena) -> None:
    data = bytes(memory.fresh(1)[:1000])
    with shared.wq(0) as wq:
        first = wq.crc(memory.at(0), 300).crc
        assert wq.crc(memory.at(300), 700, first).crc == oracles.crc32c(data)


def test_what_a_faulted_crc_reports_can_be_gone_on_from(dsa: Dsa) -> None:
    edge, memory = hole(dsa), arena(dsa)
    buffer, _ = dsa.device.dma.find(edge - 1)
    buffer.view[-200:] = data = bytes(range(200))
    with dsa.wq(0) as wq:
        for run in (lambda: wq.crc(edge - 200, 400), lambda: wq.copy_crc(memory.at(0), edge - 200, 400)):
            with pytest.raises(OperationError) as caught:
                run()
            found = caught.value.completion
            assert found.completed == 200
            assert found.crc == oracles.crc32c(data)


def test_bad_crcs(shared: Dsa, memory: Arena) -> None:
    with shared.wq(0) as wq:
        assert wq.submit.copy_crc(memory.at(8), memory.at(0), 64).wait(check=False).status == Status.OVERLAP
        unaligned = wq.submit.crc(memory.at(0), 8, seed_at=memory.at(2), flags=Flag.CRC_READ_SEED)
        assert unaligned.wait(check=False).status == Status.ADDRESS_ALIGN
        missing = wq.submit.crc(memory.at(0), 8, seed_at=0x7000_0000, flags=Flag.CRC_READ_SEED).wait(check=False)
        assert (missing.status, missing.completed) == (Status.PAGE_FAULT, 0)


# --- data integrity fields --------------------------------------------------------------------------------------------


def make(seed: int, block: int, count: int, memory: Arena) -> bytes:
    return bytes(memory.fresh(seed)[: block * count])


kinds = st.tuples(
    st.sampled_from(oracles.BLOCKS),
    st.integers(1, 3),
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFF_FFFF),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)


@settings(max_examples=20, deadline=None)
@given(kinds, st.integers(0, 99))
def test_insert_check_strip(
    shared: Dsa, memory: Arena, kind: tuple[int, int, int, int, bool, bool, bool, bool], seed: int
) -> None:
    block, count, app, ref, step_app, fixed, invert_seed, invert_result = kind
    count = 1 if block > 600 else count
    data = make(seed, block, count, memory)
    tags = oracles.Tags(app, ref, int(step_app), int(not fixed))
    protected = oracles.protect(data, block, tags, invert_seed=invert_seed, invert_result=invert_result)
    dif = (DifFlag.INVERT_SEED if invert_seed else 0) | (DifFlag.INVERT_RESULT if invert_result else 0)
    making = (DestinationFlag.INCREMENT_APP_TAG if step_app else 0) | (DestinationFlag.FIXED_REF_TAG if fixed else 0)
    checking = (SourceFlag.INCREMENT_APP_TAG if step_app else 0) | (SourceFlag.FIXED_REF_TAG if fixed else 0)
    size = len(protected)
    with shared.wq(0) as wq:
        found = wq.dif_insert(memory.at(HALF), memory.at(0), len(data), block, DifTags(ref, app, flags=making), dif=dif)
        assert memory.take(HALF, size) == protected
        assert (found.target_tags.app, found.target_tags.ref) == tags.at(count)
        expected = DifTags(ref, app, flags=checking)
        found = wq.dif_check(memory.at(HALF), size, block, expected, dif=dif)
        assert (found.source_tags.app, found.source_tags.ref) == tags.at(count)
        memory.put(0, bytes(len(data)))
        wq.dif_strip(memory.at(0), memory.at(HALF), size, block, expected, dif=dif)
        assert memory.take(0, len(data)) == data


@pytest.mark.parametrize(
    ("at", "error"),
    [(5, DifError.GUARD), (512, DifError.GUARD), (514, DifError.APP_TAG), (519, DifError.REF_TAG)],
)
@pytest.mark.parametrize("number", [0, 2])
def test_check_names_what_is_wrong(shared: Dsa, memory: Arena, at: int, error: DifError, number: int) -> None:
    protected = bytearray(oracles.protect(make(1, 512, 3, memory), 512, oracles.Tags(7, 9)))
    protected[520 * number + at] ^= 0x40
    memory.put(HALF, bytes(protected))
    with shared.wq(0) as wq:
        for run in (
            lambda: wq.dif_check(memory.at(HALF), 1560, 512, DifTags(9, 7)),
            lambda: wq.dif_strip(memory.at(0), memory.at(HALF), 1560, 512, DifTags(9, 7)),
            lambda: wq.dif_update(memory.at(0), memory.at(HALF), 1560, 512, DifTags(9, 7)),
        ):
            with pytest.raises(OperationError, match=f"{error.name.lower().replace('_', ' ')} at byte {520 * number}"):
                run()
        assert wq.nop().ok


def test_what_is_not_checked(shared: Dsa, memory: Arena) -> None:
    data = make(2, 512, 1, memory)
    ones = b"\xff" * 8

    def check(field: bytes, tags: DifTags) -> tuple[int, int]:
        memory.put(HALF, data + field)
        found = wq.submit.dif_check(memory.at(HALF), 520, 512, tags).wait(check=False)
        return found.status, found.result

    good = oracles.field(data, 0x1234, 5)
    with shared.wq(0) as wq:
        bad_guard = bytes((good[0] ^ 1,)) + good[1:]
        assert check(bad_guard, DifTags(5, 0x1234)) == (Status.DIF, DifError.GUARD)
        assert check(bad_guard, DifTags(5, 0x1234, flags=SourceFlag.NO_GUARD_CHECK)) == (1, 0)
        assert check(good, DifTags(6, 0x1234)) == (Status.DIF, DifError.REF_TAG)
        assert check(good, DifTags(6, 0x1234, flags=SourceFlag.NO_REF_TAG_CHECK)) == (1, 0)
        assert check(good, DifTags(5, 0x1235)) == (Status.DIF, DifError.APP_TAG)
        assert check(good, DifTags(5, 0x1235, app_mask=0x000F)) == (1, 0)
        assert check(good, DifTags(5, 0, app_mask=0xFFFF)) == (1, 0)
        everything = DifError.GUARD | DifError.APP_TAG | DifError.REF_TAG
        assert check(ones, DifTags(5, 0x1234)) == (Status.DIF, everything)
        for flag in (SourceFlag.F_ALL, SourceFlag.F_TAGS, SourceFlag.F_APP_TAG):
            assert check(ones, DifTags(5, 0x1234, flags=flag)) == (1, 0)
        assert check(ones, DifTags(5, 0x1234, flags=SourceFlag.F_ALL | SourceFlag.F_IS_ERROR)) == (
            (Status.DIF, DifError.ALL_ONES)
        )


@settings(max_examples=20, deadline=None)
@given(st.booleans(), st.booleans(), st.booleans(), st.integers(0, 99), st.integers(0, 0xFFFF))
def test_update(
    shared: Dsa, memory: Arena, pass_guard: bool, pass_app: bool, pass_ref: bool, seed: int, mask: int
) -> None:
    data, old, new = make(seed, 520, 2, memory), oracles.Tags(0xABCD, 100), oracles.Tags(0x4321, 500)
    memory.put(HALF, oracles.protect(data, 520, old))
    flags = (
        (DestinationFlag.PASS_GUARD if pass_guard else 0)
        | (DestinationFlag.PASS_APP_TAG if pass_app else 0)
        | (DestinationFlag.PASS_REF_TAG if pass_ref else 0)
    )
    target = DifTags(new.ref, new.app, app_mask=mask, flags=flags)
    with shared.wq(0) as wq:
        wq.dif_update(memory.at(0), memory.at(HALF), 2 * 528, 520, DifTags(old.ref, old.app), target)
    expected = b""
    for number in range(2):
        piece = data[520 * number : 520 * number + 520]
        app = old.at(number)[0] if pass_app else new.at(number)[0] & ~mask & 0xFFFF
        expected += piece + oracles.field(piece, app, (old if pass_ref else new).at(number)[1])
    assert memory.take(0, len(expected)) == expected


@settings(max_examples=15, deadline=None)
@given(kinds, st.integers(0, 99))
def test_dix(later: tuple[Dsa, Arena], kind: tuple[int, int, int, int, bool, bool, bool, bool], seed: int) -> None:
    """Only the fields, one behind the other: what insert puts between the blocks."""
    block, count, app, ref, step_app, fixed, invert_seed, invert_result = kind
    count = 1 if block > 600 else count
    dsa, memory = later
    data = make(seed, block, count, memory)
    tags = oracles.Tags(app, ref, int(step_app), int(not fixed))
    fields = b"".join(
        oracles.field(
            data[block * n : block * n + block], *tags.at(n), invert_seed=invert_seed, invert_result=invert_result
        )
        for n in range(count)
    )
    dif = (DifFlag.INVERT_SEED if invert_seed else 0) | (DifFlag.INVERT_RESULT if invert_result else 0)
    making = (DestinationFlag.INCREMENT_APP_TAG if step_app else 0) | (DestinationFlag.FIXED_REF_TAG if fixed else 0)
    with dsa.wq(0) as wq:
        wq.dix_generate(memory.at(HALF), memory.at(0), len(data), block, DifTags(ref, app, flags=making), dif=dif)
    assert memory.take(HALF, 8 * count) == fields


def test_bad_fields(shared: Dsa, memory: Arena) -> None:
    with shared.wq(0) as wq:
        for run, status in (
            (lambda: wq.submit.dif_check(memory.at(0), 519, 512), Status.SIZE),
            (lambda: wq.submit.dif_insert(memory.at(HALF), memory.at(0), 511, 512), Status.SIZE),
            (lambda: wq.submit.dif_insert(memory.at(8), memory.at(0), 512, 512), Status.OVERLAP),
            (lambda: wq.submit.dif_strip(memory.at(8), memory.at(0), 520, 512), Status.OVERLAP),
            (lambda: wq.submit.dif_update(memory.at(8), memory.at(0), 520, 512), Status.OVERLAP),
        ):
            assert run().wait(check=False).status == status
        with pytest.raises(UsageError, match="512, 520, 4096, 4104 bytes, not 100"):
            wq.dif_check(memory.at(0), 108, 100)


def test_a_fault_among_the_fields(dsa: Dsa) -> None:
    edge, memory = hole(dsa), arena(dsa)
    memory.fresh(3)
    with dsa.wq(0) as wq:
        with pytest.raises(OperationError, match="on a write") as caught:
            wq.dif_insert(edge - 520, memory.at(0), 1024, 512, DifTags(4))
        assert (caught.value.completion.completed, caught.value.completion.target_tags.ref) == (512, 5)

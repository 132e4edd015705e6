# SPDX-License-Identifier: Apache-2.0
"""Deflate streams in pieces: each job goes on from the state that the one before it left (Intel QPL's way)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vfio_ims.errors import UsageError

from ..hardware.aecs import COMPRESS_SIZE, CompressState
from ..hardware.descriptors import Flag
from ..hardware.iaa_flags import CompressFlag, DecompressFlag
from ..hardware.inflate_state import INFLATE_SIZE
from .iaa_operations import INFLATE
from .operations import iova_of

if TYPE_CHECKING:
    from vfio_ims.dma import Buffer

    from ..hardware.completion import Completion
    from .iaa_operations import IaaOperations
    from .operation import Operation

__all__ = ["CompressStream", "DecompressStream"]

_ENDS = DecompressFlag.CHECK_END


class CompressStream:
    """One block, compressed in any number of pieces. Matches do not reach back into former pieces.

    ``states``: a buffer of 3136 bytes that the stream has for itself. ``start``: codes and header.
    """

    SIZE = 2 * COMPRESS_SIZE

    def __init__(self, queue: IaaOperations[Completion], states: Buffer, start: CompressState | None = None) -> None:
        self._queue, self._states, self._second, self._ended = queue, states, False, False
        iova_of(states, self.SIZE)
        states.view[: self.SIZE] = (start or CompressState()).packed() * 2  # the device writes no codes

    def feed(
        self, dst: Buffer | int, most: int, src: Buffer | int, size: int, *, last: bool = False, how: int = 0
    ) -> Completion:
        """Compress the next ``size`` bytes at ``src`` into ``dst``, which has room for ``most``.

        With ``last`` the block ends. ``how``: ``CompressFlag`` beside those that end it. ``outcome``: bytes written,
        and the checksum of all so far. UsageError after the end: the block has one.
        """
        _check_not_ended(self._ended, "compress", self._states)
        if last:
            how |= CompressFlag.FLUSH | CompressFlag.END_OF_BLOCK
        flags = Flag.IAA_STATE_SECOND if self._second else 0
        completion = self._queue.compress(dst, most, src, size, self._states, how=how, keep=not last, flags=flags)
        self._second, self._ended = not self._second, last
        return completion


def _check_not_ended(ended: bool, verb: str, states: Buffer) -> None:
    if ended:
        why, hint = "its last piece was fed: the stream has ended", "make a new stream"
        raise UsageError(f"{verb} a piece of a stream", device=states.space.label, why=why, hint=hint)


class DecompressStream:
    """A stream, decompressed in any number of pieces: of input, of output, or both.

    ``states``: a buffer of 10752 bytes that the stream has for itself.
    """

    SIZE = 2 * INFLATE_SIZE

    def __init__(self, submitter: IaaOperations[Operation], states: Buffer) -> None:
        self._submitter, self._states, self._second, self._first = submitter, states, False, True
        self._ended = False
        iova_of(states, self.SIZE)

    def feed(
        self, dst: Buffer | int, most: int, src: Buffer | int, size: int, *, last: bool = False, how: int = INFLATE
    ) -> Completion:
        """Decompress the next ``size`` bytes at ``src`` into ``dst``, which has room for ``most``.

        With ``last`` the stream must end in them. ``how``: ``DecompressFlag``. ``completed``: how many bytes were used.
        Where the output is full the completion says so (``more_output``): feed what was not used of the input again.
        UsageError after the end.
        """
        _check_not_ended(self._ended, "decompress", self._states)
        how = how if last else how & ~_ENDS
        flags = Flag.IAA_STATE_SECOND if self._second else 0
        keep = Flag.IAA_WRITE_AT_OVERFLOW if last else Flag.IAA_WRITE_SOURCE2
        operation = self._submitter.decompress(
            dst, most, src, size, how=how, state=self._states, resume=not self._first, keep=keep, flags=flags
        )
        completion = operation.wait(check=False)
        if not completion.more_output:
            operation.wait()
        self._second, self._first = not self._second, False
        self._ended = last and not completion.more_output
        return completion

# SPDX-License-Identifier: Apache-2.0
"""A block of registers: a class whose attributes declare them, an instance that has them on a device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar, overload

from vfio_ims.errors import UsageError
from vfio_ims.registers.register import Register

if TYPE_CHECKING:
    from vfio_ims.ports.window import Window

__all__ = ["Block", "Repeat"]


class Block:
    """Declares registers as class attributes; ``Block(window, base)`` binds them. Overlaps are errors when declared."""

    registers: ClassVar[dict[str, Register]] = {}
    repeats: ClassVar[dict[str, Repeat[Block]]] = {}
    on_bind: ClassVar[Callable[[Block], None] | None] = None
    """Takes each block of the process when it is bound, so that a recording knows its registers' names."""

    def __init_subclass__(cls) -> None:
        cls.registers = dict(cls.registers) | {n: v for n, v in vars(cls).items() if isinstance(v, Register)}
        cls.repeats = dict(cls.repeats) | {n: v for n, v in vars(cls).items() if isinstance(v, Repeat)}
        end, before = 0, ""
        for register in sorted(cls.registers.values(), key=lambda register: register.offset):
            if register.offset < end:
                raise UsageError("declare a block", why=f"{cls.__name__}.{register.name} overlaps {before}")
            end, before = register.offset + register.size, register.name

    def __init__(self, window: Window, base: int = 0, label: str = "") -> None:
        self.window, self.base, self.label = window, base, label
        if Block.on_bind is not None:
            Block.on_bind(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.label or 'a device'} at {self.base:#x}>"


B = TypeVar("B", bound=Block, covariant=True)


class Repeat(Generic[B]):
    """The same block ``count`` times, ``stride`` bytes apart, from ``offset``."""

    def __init__(self, block: type[B], offset: int, count: int, stride: int) -> None:
        self.block, self.offset, self.count, self.stride = block, offset, count, stride

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, block: None, owner: type) -> Repeat[B]: ...
    @overload
    def __get__(self, block: Block, owner: type) -> BoundRepeat[B]: ...
    def __get__(self, block: Block | None, owner: type) -> Repeat[B] | BoundRepeat[B]:
        if block is None:
            return self
        return BoundRepeat(self, block.window, block.base, block.label)

    def bind(self, window: Window, label: str = "", base: int = 0) -> BoundRepeat[B]:
        """The table on a device, for tables whose place the device reports.

        It begins ``base`` bytes into ``window``, beside its own ``offset``; ``label`` is the device's name in errors.
        """
        return BoundRepeat(self, window, base, label)


class BoundRepeat(Generic[B]):
    """A table of blocks on a device: indexed, sized, iterable."""

    def __init__(self, repeat: Repeat[B], window: Window, base: int, label: str) -> None:
        self._repeat, self._window, self._base, self._label = repeat, window, base, label

    def __len__(self) -> int:
        return self._repeat.count

    def __getitem__(self, index: int) -> B:
        if not 0 <= index < self._repeat.count:
            raise UsageError(
                f"select {self._repeat.block.__name__}",
                device=self._label or None,
                why=f"index must be below {self._repeat.count}, not {index}",
            )
        at = self._base + self._repeat.offset + index * self._repeat.stride
        return self._repeat.block(self._window, at, self._label)

    def __iter__(self) -> Iterator[B]:
        return (self[index] for index in range(len(self)))

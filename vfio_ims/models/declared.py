# SPDX-License-Identifier: Apache-2.0
"""What can be wrong in a model's declaration, in words for its author."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from vfio_ims.models.bar import ModelBar
from vfio_ims.registers import Block, Register, SlotLayout

__all__ = ["bar_fault", "hook_fault"]


def bar_fault(bars: Mapping[int, ModelBar]) -> str:
    """Which slot table is not where its BAR has room for it; "" where all are."""
    for number, bar in bars.items():
        tables = bar.slots if isinstance(bar.slots, tuple) else () if bar.slots is None else (bar.slots,)
        for layout in tables:
            where = f"the slot table at {layout.offset:#x}"
            if layout.bar != number:
                return f"{where} is declared for BAR {layout.bar}, and stands in bars[{number}]"
            if layout.end > bar.size:
                return f"{where} ends at {layout.end:#x}, and BAR {number} has {bar.size:#x} bytes"
            taken = next((text for at, text in _registers(bar.block) if _meets(layout, at)), "")
            if taken:
                return f"{where} of BAR {number} and its register {taken} overlap"
    return ""


def _meets(layout: SlotLayout, at: int) -> bool:
    beside = (*(layout.shared_address or ()), layout.mask_bitmap, layout.pending_bitmap)
    return at in beside or (layout.covers(at) and (at - layout.offset) % layout.stride & ~3 in layout.words)


def _registers(block: type[Block]) -> Iterator[tuple[int, str]]:
    """Where each register begins; of repeated ones the first row's and the last one's."""
    for name, register in block.registers.items():
        yield register.offset, f"{name} at {register.offset:#x}"
    for name, repeat in block.repeats.items():
        for row in {0, repeat.count - 1}:
            for inner, register in repeat.block.registers.items():
                at = repeat.offset + row * repeat.stride + register.offset
                yield at, f"{name}[{row}].{inner} at {at:#x}"


def hook_fault(
    bars: Mapping[int, ModelBar],
    after_write: Mapping[Register, Callable[..., Any]],
    before_read: Mapping[Register, Any],
) -> str:
    """Which hook cannot be called as hooks are; "" where all can."""
    repeated = {id(each): False for bar in bars.values() for each in bar.block.registers.values()}
    for bar in bars.values():
        for repeat in bar.block.repeats.values():
            repeated.update({id(each): True for each in repeat.block.registers.values()})
    for hooks, value in ((after_write, ("value",)), (before_read, ())):
        for register, method in hooks.items():
            if id(register) not in repeated:
                continue  # bound in a way of the model's own, such as a viewport
            given = ("row", *value) if repeated[id(register)] else value
            try:
                inspect.signature(method).bind(*given)
            except TypeError:
                kind = "a register of a repeated block" if repeated[id(register)] else "a register that stands alone"
                line = method.__func__.__code__.co_firstlineno if inspect.ismethod(method) else 0
                return (
                    f"{method.__name__}{inspect.signature(method)}, line {line}, follows {kind}: it is called as "
                    f"{method.__name__}({', '.join(given)})"
                )
    return ""

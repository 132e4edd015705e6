# SPDX-License-Identifier: Apache-2.0
"""What the operations must give, written from the definitions, bit by bit; nothing of the package is used."""

from __future__ import annotations

from dataclasses import dataclass

BLOCKS = (512, 520, 4096, 4104)


def crc_bits(data: bytes, polynomial: int, width: int, register: int, *, low_bit_first: bool) -> int:
    """The long division of the message by the polynomial, one bit at a time (Ross Williams' "simple" algorithm)."""
    top = 1 << width - 1
    for byte in data:
        bits = [byte >> n & 1 for n in range(8)]
        for bit in bits if low_bit_first else reversed(bits):
            carry = bool(register & top) ^ bool(bit)
            register = (register << 1) & (top << 1) - 1
            if carry:
                register ^= polynomial
    return register


def mirror(value: int, width: int) -> int:
    return sum((value >> n & 1) << width - 1 - n for n in range(width))


def crc32c(data: bytes, seed: int = 0) -> int:
    """RFC 3720, appendix B.4; ``seed``: the CRC of what came before."""
    register = mirror(seed ^ 0xFFFF_FFFF, 32)
    return mirror(crc_bits(data, 0x1EDC_6F41, 32, register, low_bit_first=True), 32) ^ 0xFFFF_FFFF


def guard(data: bytes, *, invert_seed: bool = False, invert_result: bool = False) -> int:
    """CRC-16/T10-DIF (SBC-3, 4.22)."""
    value = crc_bits(data, 0x8BB7, 16, 0xFFFF if invert_seed else 0, low_bit_first=False)
    return value ^ 0xFFFF if invert_result else value


def field(data: bytes, app: int, ref: int, **how: bool) -> bytes:
    """A protection information field: guard, application tag, reference tag, big endian."""
    return guard(data, **how).to_bytes(2, "big") + app.to_bytes(2, "big") + ref.to_bytes(4, "big")


@dataclass
class Tags:
    app: int
    ref: int
    step_app: int = 0
    step_ref: int = 1

    def at(self, number: int) -> tuple[int, int]:
        return (self.app + number * self.step_app) & 0xFFFF, (self.ref + number * self.step_ref) & 0xFFFF_FFFF


def protect(data: bytes, block: int, tags: Tags, **how: bool) -> bytes:
    """Blocks with their fields behind them."""
    out = b""
    for number, at in enumerate(range(0, len(data), block)):
        piece = data[at : at + block]
        out += piece + field(piece, *tags.at(number), **how)
    return out


def delta(one: bytes, other: bytes, most: int) -> tuple[bytes, bool]:
    """Entries of 16-bit offset and 8 bytes, and whether they did not fit."""
    out = b""
    for number in range(len(one) // 8):
        old, new = one[8 * number : 8 * number + 8], other[8 * number : 8 * number + 8]
        if old != new:
            if len(out) + 10 > most:
                return out, True
            out += number.to_bytes(2, "little") + new
    return out, False


def first_difference(one: bytes, other: bytes) -> int | None:
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=True)) if a != b), None)

# SPDX-License-Identifier: Apache-2.0
"""A register's value: a snapshot that knows its fields. It never touches the device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vfio_ims.errors import UsageError, explain_unknown

if TYPE_CHECKING:
    from vfio_ims.registers.register import Register

__all__ = ["RegisterValue"]


class RegisterValue(int):
    """An int with the fields of its register as attributes: ``value.state``; unknown bits are kept and shown."""

    @classmethod
    def of(cls, register: Register, value: int) -> RegisterValue:
        self = cls(value)
        self.__dict__["_register"] = register
        return self

    def declaration(self) -> Register:
        """The register that this is a value of."""
        register: Register = self.__dict__["_register"]
        return register

    def __getattr__(self, name: str) -> int:
        field = None if name.startswith("__") else self.declaration().fields.get(name)
        if field is None:
            raise AttributeError(
                explain_unknown(f"field of {self.declaration().name}", name, self.declaration().fields)
            )
        return field.get(self)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.declaration().fields]

    def replace(self, **fields: int) -> RegisterValue:
        """A new value with these fields changed."""
        register, value = self.declaration(), int(self)
        for name, number in fields.items():
            field = register.fields.get(name)
            if field is None:
                why = explain_unknown(f"field of {register.name}", name, register.fields)
                raise UsageError("change a register value", why=why)
            value = field.put(value, number)
        return RegisterValue.of(register, value)

    def fields(self) -> dict[str, int]:
        """Every field with its number."""
        return {name: field.get(self) for name, field in self.declaration().fields.items()}

    @property
    def unknown(self) -> int:
        """The set bits that no field declares; 0 for a register without fields."""
        declared = 0
        for field in self.declaration().fields.values():
            declared |= field.mask
        return self & ~declared if declared else 0

    def __repr__(self) -> str:
        digits = self.declaration().width // 4
        parts = [f"{name}={field.word(self)}" for name, field in self.declaration().fields.items() if field.get(self)]
        if self.unknown:
            parts.append(f"unknown={self.unknown:#x}")
        return f"{self.declaration().name}={int(self):#0{digits + 2}x}" + (f" ({', '.join(parts)})" if parts else "")

    __str__ = __repr__

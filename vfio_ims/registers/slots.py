# SPDX-License-Identifier: Apache-2.0
"""Where a device's IMS slots are and how an entry is laid out: declared once, used by driver and model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from vfio_ims.errors import UsageError
from vfio_ims.messages import Message, MessageLimits, Slot
from vfio_ims.registers.fields import Bits, bits

__all__ = ["SlotLayout"]


_PASID, _NO_LIMITS = bits(31, 12), MessageLimits()


@dataclass(frozen=True, slots=True)
class SlotLayout:
    """An array of ``count`` entries in BAR ``bar`` from ``offset``, ``stride`` bytes apart, of 32-bit words.

    ``low``, ``high``, ``data`` and ``control`` are the words' byte offsets in an entry (None: no such word). ``mask``,
    ``pending``, ``ignore``, ``pasid_enable`` are bits of the control word and ``pasid`` its field, None where the
    table has no such thing. The default is the entry that DSA, IAA, QAT gen4 and DLB 2.5 have in common.

    What lies beside the entries is given by its byte offset in the BAR. ``shared_address``: the low and the high word
    (None: 32 bits only) of one address register for all entries, which then have no ``low`` and ``high`` of their own,
    and ``limits.one_address`` is set. ``address_copies``: further address words that always hold the same, as where a
    device has one for each cause; their place is given as that of the first, in the entry or in the BAR.
    ``mask_bitmap`` and ``pending_bitmap``: 32-bit registers with one bit an entry, 1 for masked and for pending. A
    ``stride`` of 2 declares entries that are 16-bit data and nothing else, two in a 32-bit register.
    """

    bar: int
    offset: int
    count: int
    stride: int = 16
    low: int | None = 0
    high: int | None = 4
    data: int = 8
    control: int | None = 12
    mask: int | None = 0
    pending: int | None = 1
    ignore: int | None = None
    pasid_enable: int | None = None
    pasid: Bits = _PASID
    limits: MessageLimits = _NO_LIMITS
    shared_address: tuple[int, int | None] | None = None
    mask_bitmap: int | None = None
    pending_bitmap: int | None = None
    address_copies: tuple[tuple[int, int | None], ...] = ()

    def __post_init__(self) -> None:
        self._check_beside()
        if self.packed:
            return
        own_copies = [] if self.low is None else [place for copy in self.address_copies for place in copy]
        words = (self.low, self.high, self.data, self.control, *own_copies)
        places = [place for place in words if place is not None]
        if len(set(places)) != len(places) or any(at % 4 or not 0 <= at <= self.stride - 4 for at in places):
            raise UsageError("declare a slot layout", why=f"words must be distinct and within the stride, not {places}")
        if self.count < 1 or self.offset % 4 or self.stride % 4:
            raise UsageError("declare a slot layout", why="count must be 1 or more, offset and stride multiples of 4")
        if self.control is None and any(
            b is not None for b in (self.mask, self.pending, self.ignore, self.pasid_enable)
        ):
            raise UsageError(
                "declare a slot layout", why="mask, pending, ignore and PASID must be None without a control word"
            )

    def _check_beside(self) -> None:
        """What lies beside the entries, and whether it agrees with them."""
        copies = [place for copy in self.address_copies for place in copy]
        why, aligned = "", [*(self.shared_address or ()), self.mask_bitmap, self.pending_bitmap, *copies]
        if any(place is not None and (place % 4 or place < 0) for place in aligned):
            why = "registers beside the entries must be at multiples of 4"
        elif (self.shared_address is None) == (self.low is None):
            why = "an entry has low, or all entries have shared_address: one of the two"
        elif self.low is None and self.high is not None:
            why = "high must be None without low"
        elif self.mask_bitmap is not None and self.mask is not None:
            why = "the mask is in the control word or in mask_bitmap: one of mask and mask_bitmap must be None"
        elif self.pending_bitmap is not None and self.pending is not None:
            why = "pending is in the control word or in pending_bitmap: one of the two must be None"
        elif self.stride == 2 and (self.data or self.low is not None or self.control is not None):
            why = "entries of 2 bytes hold data only: data=0, low=None, high=None, control=None"
        elif self.packed and (self.count < 1 or self.offset % 4):
            why = "count must be 1 or more, offset a multiple of 4"
        if why:
            raise UsageError("declare a slot layout", why=why)
        limits = self.limits
        if self.shared_address is not None:
            limits = replace(limits, one_address=True)
        if self.packed:
            limits = replace(limits, data_bits=min(16, limits.data_bits))
        object.__setattr__(self, "limits", limits)

    @property
    def packed(self) -> bool:
        """Whether an entry is 16 bits of data and nothing else, two in a 32-bit register."""
        return self.stride == 2

    @property
    def size(self) -> int:
        """Bytes of the whole table."""
        return self.stride * (self.count - 1) + self.stride

    @property
    def has_mask(self) -> bool:
        return self.mask is not None or self.mask_bitmap is not None

    @property
    def has_pending(self) -> bool:
        return self.pending is not None or self.pending_bitmap is not None

    @property
    def has_pasid(self) -> bool:
        return self.pasid_enable is not None

    def at(self, index: int) -> int:
        """Byte offset in the BAR of entry ``index``; UsageError outside the table."""
        if not 0 <= index < self.count:
            raise UsageError("select a slot", why=f"slot must be below {self.count}, not {index}")
        return self.offset + index * self.stride

    def control_word(self, slot: Slot) -> int:
        """The whole control word for ``slot``: pending and reserved bits are 0."""
        word = 0
        if self.mask is not None and slot.masked:
            word |= 1 << self.mask
        if slot.pasid is not None:
            if self.pasid_enable is None:
                raise UsageError("encode a slot", why="this table keeps no PASID")
            word = self.pasid.put(word | 1 << self.pasid_enable, slot.pasid)
        if slot.ignore and self.ignore is not None:
            word |= 1 << self.ignore
        return word

    def is_pending(self, control: int) -> bool:
        return self.pending is not None and bool(control >> self.pending & 1)

    def decode(self, low: int, high: int, data: int, control: int, masked: bool = False) -> Slot:
        """The slot that these words hold. An address's reserved low bits are dropped.

        ``masked``: its bit in ``mask_bitmap``, where the table has that.
        """
        enabled = self.pasid_enable is not None and control >> self.pasid_enable & 1
        return Slot(
            Message((high << 32 | low) & ~3, data),
            masked=masked if self.mask is None else bool(control >> self.mask & 1),
            pasid=self.pasid.get(control) if enabled else None,
            ignore=self.ignore is not None and bool(control >> self.ignore & 1),
        )

    def decode_entry(self, words: Sequence[int], address: int = 0, masked: bool = False) -> Slot:
        """The slot in an entry given as its 32-bit words; ``address``, ``masked``: what lies beside the entries."""
        low, high, data, control = (
            0 if at is None else words[at // 4] for at in (self.low, self.high, self.data, self.control)
        )
        if self.low is None:
            low, high = address & 0xFFFF_FFFF, address >> 32
        return self.decode(low, high, data, control, masked)

# SPDX-License-Identifier: Apache-2.0
"""Where a device's IMS slots are and how an entry is laid out: declared once, used by driver and model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from vfio_ims.errors import UsageError
from vfio_ims.messages import Message, MessageLimits, Slot
from vfio_ims.registers.fields import Access, Bits, bits
from vfio_ims.registers.layout_checks import DENSE, layout_fault

__all__ = ["MEMORY", "SlotLayout"]

_PASID, _WORD, _NO_LIMITS = bits(31, 12), bits(31, 0), MessageLimits()
MEMORY = -1
"""In place of a BAR's number: the entries are in our own DMA memory."""

_USUAL = -1  # the default of an offset or a bit: where it lies depends on the others


@dataclass(frozen=True, slots=True)
class SlotLayout:
    """An array of ``count`` entries in BAR ``bar`` from ``offset``, ``stride`` bytes apart, of 32-bit words.

    ``low``, ``high``, ``data`` and ``control`` are the words' byte offsets in an entry (None: no such word). ``mask``,
    ``pending``, ``ignore``, ``pasid_enable`` are bits of the control word and ``pasid`` its field, None where the
    table has no such thing. The default is the entry that DSA, IAA, QAT gen4 and DLB 2.5 have in common; what cannot
    be there is left out: no ``low`` and ``high`` beside a shared address, no control word where there are bitmaps, a
    shared address or under 16 bytes, no bits without a control word.

    What lies beside the entries is given by its byte offset in the BAR. ``shared_address``: the low and the high word
    (None: 32 bits only) of one address register for all entries, which then have no ``low`` and ``high`` of their own,
    and ``limits.one_address`` is set. ``address_copies``: further address words that always hold the same, as where a
    device has one for each cause; their place is given as that of the first, in the entry or in the BAR.
    ``mask_bitmap`` and ``pending_bitmap``: 32-bit registers with one bit an entry. ``mask_set`` and ``mask_clear``: as
    many registers each, a 1 written to which sets and clears the bit, a 0 changing nothing, as an interrupt controller
    has them; the bits are read in ``mask_bitmap``, which is ``mask_set`` where it is not given. A ``stride`` of 2
    declares entries that are 16-bit data and nothing else, two in a 32-bit register.

    ``masked_when`` 0: the mask, wherever it is, is an enable bit. ``pending_when`` 0: the pending bit, wherever it is,
    is 0 while a message is held back. ``pending_access`` "rw1c": a 1 written to it drops that message. ``data_bits``:
    the field of the data word that is data; the other bits may be control bits, where ``control`` is the same word. A
    field of 20 address bits is said in ``limits``. Entries far apart (``stride`` over 64) leave the bytes between their
    words to other registers.

    ``bar`` MEMORY: the entries are in our own DMA memory, and ``offset`` counts from its start (``Context``).
    """

    bar: int
    offset: int
    count: int
    stride: int = 16
    low: int | None = _USUAL
    high: int | None = _USUAL
    data: int = _USUAL
    control: int | None = _USUAL
    mask: int | None = _USUAL
    pending: int | None = _USUAL
    ignore: int | None = None
    pasid_enable: int | None = None
    pasid: Bits = _PASID
    limits: MessageLimits = _NO_LIMITS
    shared_address: tuple[int, int | None] | None = None
    mask_bitmap: int | None = None
    pending_bitmap: int | None = None
    address_copies: tuple[tuple[int, int | None], ...] = ()
    masked_when: int = 1
    data_bits: Bits = _WORD
    mask_set: int | None = None
    mask_clear: int | None = None
    pending_when: int = 1
    pending_access: Access = "ro"

    def __post_init__(self) -> None:
        self._settle()
        why = layout_fault(self)
        if why:
            raise UsageError("declare a slot layout", why=why)
        limits = self.limits
        if self.shared_address is not None:
            limits = replace(limits, one_address=True)
        if (self.high if self.shared_address is None else self.shared_address[1]) is None:
            limits = replace(limits, address_mask=limits.address_mask & 0xFFFF_FFFF)  # no word for the upper half
        width = min(16 if self.packed else self.data_bits.width, limits.data_bits)
        object.__setattr__(self, "limits", replace(limits, data_bits=width))

    def _settle(self) -> None:
        """Put what was left to its default where it lies in a table of this kind."""
        own = self.shared_address is None
        if self.mask_bitmap is None and self.mask_set is not None:
            object.__setattr__(self, "mask_bitmap", self.mask_set)
        bare = self.stride < 16 or not own or self.mask_bitmap is not None
        self._default("low", 0 if own else None)
        self._default("high", None if self.low is None else self.low + 4)
        self._default("data", 8 if own else 0)
        self._default("control", None if bare else 12)
        controlled = self.control is not None
        self._default("mask", 0 if controlled and self.mask_bitmap is None else None)
        self._default("pending", 1 if controlled and self.pending_bitmap is None else None)

    def _default(self, name: str, value: int | None) -> None:
        if getattr(self, name) == _USUAL:
            object.__setattr__(self, name, value)

    @property
    def packed(self) -> bool:
        """Whether an entry is 16 bits of data and nothing else, two in a 32-bit register."""
        return self.stride == 2

    @property
    def size(self) -> int:
        """Bytes of the whole table."""
        return self.stride * self.count

    @property
    def end(self) -> int:
        """Where its last word ends, counted as ``offset`` is."""
        return self.offset + self.stride * (self.count - 1) + (self.stride if self.dense else max(self.words) + 4)

    @property
    def words(self) -> tuple[int, ...]:
        """The byte offsets of the words that an entry has, copies of its address included."""
        copies = () if self.low is None else tuple(place for copy in self.address_copies for place in copy)
        places = (self.low, self.high, self.data, self.control, *copies)
        return tuple(dict.fromkeys(place for place in places if place is not None))

    @property
    def dense(self) -> bool:
        """Whether entries lie close together, with nothing else between them."""
        return self.stride <= DENSE

    def covers(self, offset: int) -> bool:
        """Whether the byte at ``offset``, counted as ``self.offset`` is, belongs to an entry."""
        index, inside = divmod(offset - self.offset, self.stride)
        if not 0 <= index < self.count:
            return False
        return self.dense or inside & ~3 in self.words

    @property
    def has_mask(self) -> bool:
        """Whether an entry's messages can be held back, in its control word or a bitmap."""
        return self.mask is not None or self.mask_bitmap is not None

    @property
    def has_pending(self) -> bool:
        """Whether an entry shows that it holds a message back."""
        return self.pending is not None or self.pending_bitmap is not None

    @property
    def has_pasid(self) -> bool:
        """Whether an entry keeps whose work may raise it."""
        return self.pasid_enable is not None

    @property
    def drops_pending(self) -> bool:
        """Whether a write can drop what an entry holds back."""
        return self.has_pending and self.pending_access == "rw1c"

    def at(self, index: int) -> int:
        """Byte offset in the BAR of entry ``index``; UsageError outside the table."""
        if not 0 <= index < self.count:
            raise UsageError("select a slot", why=f"slot must be below {self.count}, not {index}")
        return self.offset + index * self.stride

    def control_word(self, slot: Slot) -> int:
        """The whole control word for ``slot``: pending and reserved bits are 0, which drops no pending message."""
        word = 0
        if self.mask is not None and slot.masked == bool(self.masked_when):
            word |= 1 << self.mask
        if self.data == self.control:
            word |= self.data_word(slot.message)
        if slot.pasid is not None:
            if self.pasid_enable is None:
                raise UsageError("encode a slot", why="this table keeps no PASID")
            word = self.pasid.put(word | 1 << self.pasid_enable, slot.pasid)
        if slot.ignore and self.ignore is not None:
            word |= 1 << self.ignore
        return word

    def data_word(self, message: Message) -> int:
        """The data word for ``message``, whose data is cut to the field's width."""
        return (message.data & self.data_bits.mask >> self.data_bits.low) << self.data_bits.low

    def is_masked(self, control: int) -> bool:
        """Whether the mask bit of a control word says masked; False where the mask is elsewhere."""
        return self.mask is not None and control >> self.mask & 1 == self.masked_when

    def is_pending(self, control: int) -> bool:
        """Whether the pending bit of a control word says pending; False where that bit is elsewhere."""
        return self.pending is not None and control >> self.pending & 1 == self.pending_when

    def decode(self, low: int, high: int, data: int, control: int, masked: bool = False) -> Slot:
        """The slot that the words ``low``, ``high``, ``data`` and ``control`` hold.

        An address's reserved low bits are dropped.

        ``masked``: its bit in ``mask_bitmap``, where the table has that.
        """
        enabled = self.pasid_enable is not None and control >> self.pasid_enable & 1
        return Slot(
            Message((high << 32 | low) & ~3, data if self.packed else self.data_bits.get(data)),
            masked=masked if self.mask is None else self.is_masked(control),
            pasid=self.pasid.get(control) if enabled else None,
            ignore=self.ignore is not None and bool(control >> self.ignore & 1),
        )

    def decode_entry(self, words: Sequence[int], address: int = 0, masked: bool = False) -> Slot:
        """The slot in an entry given as its 32-bit words; ``address``, ``masked``: what lies beside the entries."""
        places = self.low, self.high, self.data, self.control
        low, high, data, control = [0 if at is None else words[at // 4] for at in places]
        if self.low is None:
            low, high = address & 0xFFFF_FFFF, address >> 32
        return self.decode(low, high, data, control, masked)

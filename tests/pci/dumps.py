# SPDX-License-Identifier: Apache-2.0
"""Config space dumps, put together by hand from published figures, not by our own builder."""

EXPRESS, MSIX, PM = 0x40, 0x80, 0x90
AER, LTR, TPH, VC, SIOV, ATS, PASID, PRI = 0x100, 0x150, 0x160, 0x170, 0x200, 0x220, 0x230, 0x240


def assemble(parts: dict[int, str], size: int = 4096) -> bytes:
    """Bytes in hex by offset, zero elsewhere."""
    data = bytearray(size)
    for offset, text in parts.items():
        piece = bytes.fromhex(text)
        data[offset : offset + len(piece)] = piece
    return bytes(data)


# Intel DSA of Sapphire Rapids, 8086:0b25, as two lspci -vvv listings of 2024 show it: ids, places, sizes and the values
# named below. What the listings leave open (error masks, latencies) is zero.
SPR_DSA_PARTS = {
    0x00: "8680250b 4601 1000 00 008008 00 00 00 00",
    0x10: "0c0000ff cc200000",  # BAR0: 64-bit, prefetchable, at 0x20ccff000000
    0x18: "0c0010ff cc200000",  # BAR2: likewise at 0x20ccff100000
    0x2C: "86800000",
    0x34: "40",
    EXPRESS: "1080 9200 22800010 10290000",  # v2, root complex integrated endpoint; 512 bytes, ext tag, RBE, FLReset
    EXPRESS + 0x24: "10080000",  # completion timeout disable, LTR
    MSIX: "1190 0880 00200000 00300000",  # 9 vectors, enabled, table BAR0+0x2000, PBA BAR0+0x3000
    PM: "0100 0300 08000000",
    AER: "01000215",
    LTR: "18000116 00000000",
    TPH: "17000117 05000000",
    VC: "02000120 00000000 00000000 00000000 00000000 ff000080",
    SIOV: "23000122 86808001 0500 0000 01000000 01000000 01000000",
    ATS: "0f000123 6000 0000",
    PASID: "1b000124 0414 0000",
    PRI: "13000100 0000 0081 00020000 00000000",
}
SPR_DSA = assemble(SPR_DSA_PARTS)


def spr_dsa_with(**changes: str) -> bytes:
    """The same with parts replaced, named by their place in hex: ``spr_dsa_with(x214="00000000")``."""
    return assemble(SPR_DSA_PARTS | {int(name[1:], 16): text for name, text in changes.items()})


SPR_DSA_IMS_CLEAR = spr_dsa_with(x214="00000000")
SPR_DSA_NO_DVSEC = spr_dsa_with(x170="02000122")  # the virtual channel points past it
# A DVSEC of another vendor's first, with that vendor's id 5 and the same bit set.
SPR_DSA_SECOND_VENDOR = spr_dsa_with(x170="02000130", x300="23000120 de108001 0500 0000 00000000 00000000 01000000")

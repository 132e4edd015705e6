# SPDX-License-Identifier: Apache-2.0
"""What a table whose slots share address registers can carry here: which form the platform's messages have.

Consequences of the documented formats. Under a real kernel the forms of Intel with remapping and of none were seen; all
are tried on the software platform.
"""

from __future__ import annotations

from collections.abc import Collection

from vfio_ims.counted import counted
from vfio_ims.messages import Format, Message
from vfio_ims.ports.values import Evidence

__all__ = ["carried"]


def carried(messages: Collection[Message], registers: int, *, msi: bool) -> Evidence:
    """How many different messages ``registers`` address registers can hold at once, and why.

    ``messages``: of the vectors that could be donors. ``msi``: they are of one MSI block, not of an MSI-X table.
    """
    addresses = {message.address for message in messages}
    form = next(iter(messages)).format
    one = "one interrupt for each address register: slots share it, and the device is asked which of them fired"
    many = f"{counted(len(messages), 'interrupt')}, whose data differ"
    if len(addresses) > 1 and form is Format.VTD:
        text = f"each MSI-X message is a VT-d handle in an address of its own: {one}"
        return Evidence(False, text, "a block of MSI vectors has one address: donors=msi, where the function has it")
    if len(addresses) > 1 and form in (Format.COMPATIBILITY, Format.X86):
        text = f"each message has its CPU in the address: {one}, and for every other on the same CPU"
        return Evidence(False, text, "turn interrupt remapping on, or keep the vectors on one CPU")
    if len(addresses) > 1:
        return Evidence(
            False, f"the messages have {counted(len(addresses), 'address')}: {one}", "no other donors are known"
        )
    if len(messages) == 1:
        return Evidence(True, f"there is one vector, with one message: {one}")
    where = {
        Format.VTD: "the messages of one MSI block share a VT-d handle" if msi else "the messages share a VT-d handle",
        Format.AMD: "AMD-Vi has one address for all, and the index in the data",
        Format.COMPATIBILITY: "all vectors are on one CPU",
        Format.ITS: "messages are written to the ITS's doorbell, with the event in the data",
        Format.GICV2M: "messages are written to the GICv2m frame's doorbell, with the SPI in the data",
    }.get(form, "the messages have one address")
    return Evidence(True, f"{where}: {many}")

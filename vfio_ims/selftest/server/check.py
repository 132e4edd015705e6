# SPDX-License-Identifier: Apache-2.0
"""What any vfio-user server must do, asked of the server itself: infos, interrupts, masks, reset, DMA maps.

No driver is needed, and no platform stands between: the requests are those that QEMU makes. What only the device can
do, raising its own interrupt, is asked for by a write that the caller names.
"""

from __future__ import annotations

from collections.abc import Callable

from vfio_ims.errors import RemovedError, VfioImsError
from vfio_ims.selftest.report import Outcome
from vfio_ims.selftest.server.asked import Asked, Fire, NotApplicable, ServerCheck, Wrong
from vfio_ims.selftest.server.memory import dma_maps, many_dma_maps
from vfio_ims.selftest.server.own_interrupt import intx_level, mask_and_pending, own_interrupt
from vfio_ims.selftest.server.regions import infos, outside
from vfio_ims.selftest.server.vectors import eventfds_replaced, reset_keeps_eventfds, triggers, vectors_outside
from vfio_ims.vfio_user import SocketLink

__all__ = ["check_server"]


_CHECKS: tuple[tuple[str, Callable[[Asked], str]], ...] = (
    ("what it is", infos),
    ("accesses outside", outside),
    ("triggers", triggers),
    ("eventfds replaced", eventfds_replaced),
    ("vectors outside", vectors_outside),
    ("own interrupt", own_interrupt),
    ("mask and pending", mask_and_pending),
    ("INTx level", intx_level),
    ("reset", reset_keeps_eventfds),
    ("DMA maps", dma_maps),
    ("many DMA maps", many_dma_maps),
)


def check_server(path: str, *, fire: Fire | None = None, timeout: float = 5.0) -> list[ServerCheck]:
    """Ask the vfio-user server at the socket ``path``, which must be idle.

    A server that hangs, ends or breaks the protocol fails the check that it was in; where it takes a new client the
    others are tried all the same. ``timeout``: seconds for an answer, and for an interrupt. Raises what connecting
    raises, the first time.
    """
    found = []
    link: SocketLink | None = SocketLink(path, timeout=timeout)
    try:
        for name, check in _CHECKS:
            if link is None:
                try:
                    link = SocketLink(path, timeout=timeout)
                except VfioImsError as gone:
                    found.append(ServerCheck(name, Outcome.NOT_RUN, f"the server takes no new client: {gone.why}"))
                    continue
            try:
                found.append(ServerCheck(name, Outcome.PASSED, check(Asked(link, fire, timeout))))
            except NotApplicable as nothing:
                found.append(ServerCheck(name, Outcome.NOT_APPLICABLE, str(nothing)))
            except Wrong as wrong:
                found.append(ServerCheck(name, Outcome.FAILED, str(wrong)))
            except VfioImsError as error:
                found.append(ServerCheck(name, Outcome.FAILED, f"{error.operation}: {error.why}"))
                if isinstance(error, RemovedError):
                    link.close()
                    link = None
    finally:
        if link is not None:
            link.close()
    return found

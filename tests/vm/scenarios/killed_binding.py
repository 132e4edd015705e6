# SPDX-License-Identifier: Apache-2.0
"""Binding is killed before and after each of its writes; restore puts back what was there. Arguments: addresses.

Prints JSON: at how many points it was killed, and where it was not as before.
"""

from __future__ import annotations

import json
import os
import signal
import sys

from vfio_ims.host import Binder, Machine
from vfio_ims.host.binding import Binding
from vfio_ims.host.writer import Writer


class Killing(Writer):
    """Ends this process at a write: before it, or right after it (with .5)."""

    def __init__(self, machine: Machine, at: float) -> None:
        super().__init__(machine)
        self._at, self._count = at, 0

    def put(self, path: str, text: str) -> None:
        if self._at == self._count:
            os.kill(os.getpid(), signal.SIGKILL)
        super().put(path, text)
        if self._at == self._count + 0.5:
            os.kill(os.getpid(), signal.SIGKILL)
        self._count += 1


def states() -> dict[str, Binding]:
    return {str(one): Binding.of(one) for one in Machine().functions()}


def bind_until(at: float, addresses: list[str]) -> bool:
    """True: it was killed."""
    child = os.fork()
    if child == 0:
        try:
            machine = Machine()
            binder = Binder(machine, writer=Killing(machine, at))
            found = [one for one in machine.functions() if str(one) in addresses]
            binder.carry_out(binder.plan_bind(found), force=True)
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in (0, -signal.SIGKILL):
        raise RuntimeError(f"binding ended with {status}")
    return status != 0


def main(addresses: list[str]) -> None:
    before = states()
    at, points, bad = 0.0, 0, []
    while bind_until(at, addresses):
        points += 1
        results = Binder().restore()
        if states() != before or not all(one.done for one in results):
            bad.append([at, [one.text for one in results]])
        at += 0.5
    bound = {address: str(states()[address]) for address in addresses}
    Binder().restore()
    print(json.dumps({"points": points, "bad": bad, "bound": bound, "same": states() == before}))


if __name__ == "__main__":
    main(sys.argv[1:])

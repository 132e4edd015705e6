# SPDX-License-Identifier: Apache-2.0
"""labgrid's driver for a function: here it is opened in this process, elsewhere by labgrid's agent beside the card."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attr
from labgrid.driver.common import Driver
from labgrid.factory import target_factory
from labgrid.protocol import MMIOProtocol, ResetProtocol
from labgrid.step import step
from labgrid.util.agentwrapper import AgentWrapper

from vfio_ims import errors
from vfio_ims.labs.remote_function import RemoteFunction

__all__ = ["VfioDriver", "open_agent", "value_of"]


def open_agent(host: str | None) -> Any:
    """Labgrid's agent on ``host`` (by ssh), or in a process of this machine where it is this one, with ours loaded."""
    here = host is None or host in ("localhost", "127.0.0.1", "::1", socket.gethostname(), socket.getfqdn())
    agent = AgentWrapper(None if here else host)
    try:
        return agent, agent.load("agent", path=str(Path(__file__).parent))
    except BaseException:
        agent.close()
        raise


def value_of(answer: dict[str, Any]) -> Any:
    """What our part of the agent returned. Raises the error that it met, as if it had been met here."""
    if "error" in answer:
        raise getattr(errors, answer["error"])(answer["operation"], **answer["parts"])
    return answer["value"]


@target_factory.reg_driver
@attr.s(eq=False)
class VfioDriver(Driver, MMIOProtocol, ResetProtocol):
    """Registers, interrupts, reset and self-test of a function (``RemoteFunction``).

    Args:
        bar (int, default=0): the BAR that MMIOProtocol's addresses are offsets in

    """

    bindings = {"function": {"PCIFunction", "NetworkPCIFunction", "VfioModel", "NetworkVfioModel"}}
    bar: int = attr.ib(default=0, validator=attr.validators.instance_of(int))

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self._agent: Any = None
        self._proxy: Any = None
        self._here: RemoteFunction | None = None

    def on_activate(self) -> None:
        """Nothing is opened yet: the first call does that."""
        host = getattr(self.function, "host", None)
        if host is None:
            self._here = RemoteFunction(self.function.device_name)
        else:
            self._agent, self._proxy = open_agent(host)

    def on_deactivate(self) -> None:
        """Close the device, which resets it."""
        here, self._here = self._here, None
        if here is not None:
            here.close()
        agent, self._agent = self._agent, None
        if agent is not None:
            try:
                self._proxy.call(self.function.device_name, "close")
            finally:
                agent.close()

    def _call(self, method: str, *arguments: Any) -> Any:
        if self._here is not None:
            return getattr(self._here, method)(*arguments)
        return value_of(self._proxy.call(self.function.device_name, method, *arguments))

    @Driver.check_active
    def info(self) -> dict[str, Any]:
        """What it is, and where: ids, BARs, vectors, host, kernel."""
        found: dict[str, Any] = self._call("info")
        return found

    @Driver.check_active
    def batch(self, operations: Sequence[Sequence[Any]]) -> list[int | None]:
        """Many accesses in one round trip; see ``RemoteFunction.batch``."""
        found: list[int | None] = self._call("batch", [list(operation) for operation in operations])
        return found

    @Driver.check_active
    def read(self, address: int, size: int, count: int) -> bytes:
        """``count`` registers of ``size`` bytes of the BAR, ascending, each read once."""
        places = range(address, address + size * count, size)
        values = self.batch([("read", self.bar, at, size) for at in places])
        return b"".join(int(value or 0).to_bytes(size, "little") for value in values)

    @Driver.check_active
    def write(self, address: int, size: int, data: bytes) -> None:
        """Write ``data`` as registers of ``size`` bytes of the BAR, ascending, each once."""
        if len(data) % size:
            raise ValueError(f"the data must be a multiple of {size} bytes, not {len(data)}")
        parts = [(at, int.from_bytes(data[at : at + size], "little")) for at in range(0, len(data), size)]
        self.batch([("write", self.bar, address + at, size, value) for at, value in parts])

    @Driver.check_active
    @step()
    def reset(self) -> None:
        """The function's own reset."""
        self._call("reset")

    @Driver.check_active
    def listen(self, vector: int) -> None:
        """Attach an event to an MSI-X vector, before it is made to fire."""
        self._call("listen", vector)

    @Driver.check_active
    def wait_interrupt(self, vector: int, seconds: float) -> bool:
        """Whether the vector was raised since the last call; waits for it on the card's host."""
        return bool(self._call("wait_interrupt", vector, seconds))

    @Driver.check_active
    @step(result=True)
    def selftest(self, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Every slot fired and every interrupt reconciled, by the device's own driver on the card's host."""
        found: dict[str, Any] = self._call("selftest", dict(options or {}))
        return found

# SPDX-License-Identifier: Apache-2.0
"""labgrid's power for a function: its slot's, by the kernel of the card's host."""

from __future__ import annotations

from typing import Any

import attr
from labgrid.driver.common import Driver
from labgrid.factory import target_factory
from labgrid.protocol import PowerProtocol
from labgrid.step import step

from vfio_ims.labs.labgrid.driver import open_agent, value_of

__all__ = ["PCISlotPowerDriver"]


@target_factory.reg_driver
@attr.s(eq=False)
class PCISlotPowerDriver(Driver, PowerProtocol):
    """Off and on by the hotplug slot's power, else by removing the function and rescanning (``SlotPower``); as root."""

    bindings = {"function": {"PCIFunction", "NetworkPCIFunction"}}

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self._agent: Any = None
        self._proxy: Any = None

    def on_activate(self) -> None:
        """Start the agent."""
        self._agent, self._proxy = open_agent(getattr(self.function, "host", None))

    def on_deactivate(self) -> None:
        """End it."""
        agent, self._agent = self._agent, None
        agent.close()

    def _switch(self, method: str) -> Any:
        return value_of(self._proxy.power(self.function.address, method))

    @Driver.check_active
    @step()
    def on(self) -> None:
        """Power the slot, and find the function again."""
        self._switch("on")

    @Driver.check_active
    @step()
    def off(self) -> None:
        """Take the function away."""
        self._switch("off")

    @Driver.check_active
    @step()
    def cycle(self) -> None:
        """Off and on."""
        self._switch("cycle")

    @Driver.check_active
    def get(self) -> bool:
        """Whether the function is there."""
        return bool(self._switch("get"))

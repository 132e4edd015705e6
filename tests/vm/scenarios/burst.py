# SPDX-License-Identifier: Apache-2.0
"""More events than the socket holds, with a change in their midst. Argument: an address. Prints JSON."""

from __future__ import annotations

import json
import sys

from vfio_ims.host import Binder, DeviceEvents, Machine, event_sources


def main(address: str) -> None:
    event_sources._BUFFER = 4096
    machine = Machine()
    function = machine.function(address)
    assert function is not None
    source = event_sources.UdevSource("kernel")
    lost = []
    asked = source.news

    def news() -> object:
        found = asked()
        lost.append(found is None)
        return found

    source.news = news  # type: ignore[assignment,method-assign]
    with DeviceEvents(machine, source=source) as events:
        for number in range(400):
            if number == 200:
                binder = Binder(machine)
                binder.carry_out(binder.plan_unbind([function]))
            for other in machine.functions():
                (other.path / "uevent").write_text("change")
        heard = []
        while (event := events.poll(0.5)) is not None:
            heard.append(str(event))
        Binder(machine).restore()
        while (event := events.poll(0.5)) is not None:
            heard.append(str(event))
    print(json.dumps({"lost": any(lost), "heard": heard}))


if __name__ == "__main__":
    main(sys.argv[1])

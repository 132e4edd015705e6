# SPDX-License-Identifier: Apache-2.0
"""What labgrid's agent loads on the host that owns the card: this text is sent there, vfio-ims must be installed there.

The agent calls ``methods`` with JSON values, one call at a time.
"""

from collections.abc import Callable
from typing import Any

from vfio_ims.errors import VfioImsError
from vfio_ims.labs.remote_function import RemoteFunction
from vfio_ims.labs.slot_power import SlotPower

_functions: dict[str, RemoteFunction] = {}


def _answer(call: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
    """What it returned, or our error in its parts: labgrid's own way shows no more than its first line."""
    try:
        return {"value": call(*arguments)}
    except VfioImsError as error:
        parts = {"device": error.device, "why": error.why, "hint": error.hint, "errno": error.errno}
        return {"error": type(error).__name__, "operation": error.operation, "parts": parts}


def _call(name: str, method: str, *arguments: Any) -> dict[str, Any]:
    """Call a method of the function called ``name``, which the first call opens."""
    function = _functions.setdefault(name, RemoteFunction(name))
    return _answer(getattr(function, method), *arguments)


def _power(address: str, method: str) -> dict[str, Any]:
    """Call a method of the slot's power. What was open of the function is closed first."""
    for name, function in _functions.items():
        if name.partition(",")[0] == address:
            function.close()
    return _answer(getattr(SlotPower(address), method))


methods = {"call": _call, "power": _power}

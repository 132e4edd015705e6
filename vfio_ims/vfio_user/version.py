# SPDX-License-Identifier: Apache-2.0
"""VERSION: what the two sides agree on first. The limits travel as JSON, closed by a NUL."""

from __future__ import annotations

import json
from dataclasses import dataclass
from struct import Struct

from vfio_ims.counted import counted
from vfio_ims.vfio_user.host_side import HostSide
from vfio_ims.vfio_user.wire import MAX_TRANSFER, malformed

__all__ = ["MAJOR", "MINOR", "Capabilities", "decode_version", "encode_version"]

MAJOR, MINOR = 0, 1
_FIXED = Struct("=HH")
_HOST = "vfio_ims_host"  # ours: a client asks with true, a server of an opened function answers with an object
_MOST_FDS = 1024  # more than a UNIX socket carries in one message (SCM_MAX_FD is 253); libvfio-user's bound


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What one side can take. The defaults are what the protocol assumes of a side that says nothing.

    ``host``: True from a client that asks for it, the host's side from a server that has opened a function.
    """

    max_msg_fds: int = 1
    max_data_xfer_size: int = MAX_TRANSFER
    max_dma_maps: int = 65535
    pgsizes: int = 4096
    write_multiple: bool = False
    host: HostSide | bool = False


def encode_version(major: int, minor: int, capabilities: Capabilities) -> bytes:
    """The payload. As short as it can be: QEMU takes no reply that is longer than its request."""
    said: dict[str, object] = {
        "max_msg_fds": capabilities.max_msg_fds,
        "max_data_xfer_size": capabilities.max_data_xfer_size,
        "max_dma_maps": capabilities.max_dma_maps,
        "pgsizes": capabilities.pgsizes,
    }
    if capabilities.write_multiple:
        said["write_multiple"] = True
    if capabilities.host:
        said[_HOST] = capabilities.host if isinstance(capabilities.host, bool) else capabilities.host.to_json()
    text = json.dumps({"capabilities": said}, separators=(",", ":"))
    return _FIXED.pack(major, minor) + text.encode() + b"\0"


def decode_version(payload: bytes) -> tuple[int, int, Capabilities]:
    """Major, minor and limits. Names that are not known are passed over. Raises WireError."""
    if len(payload) < _FIXED.size:
        malformed("message size", f"at least {counted(_FIXED.size, 'byte')} of payload", len(payload))
    major, minor = _FIXED.unpack_from(payload)
    if len(payload) == _FIXED.size:
        return major, minor, Capabilities()
    if payload[-1] != 0:
        malformed("version data", "closed by a NUL", payload[-16:])
    try:
        top = json.loads(payload[_FIXED.size : payload.index(0, _FIXED.size)].decode())
    except (ValueError, RecursionError) as error:
        malformed("version data", "JSON", str(error))
    return major, minor, _capabilities(_object("version data", top).get("capabilities", {}))


def _object(field: str, value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else malformed(field, "an object", value)


def _number(said: dict[str, object], field: str, default: int, least: int, most: int) -> int:
    value = said.get(field, default)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        malformed(field, f"a number from {least} to {most}", value)
    return value


def _capabilities(value: object) -> Capabilities:
    said = _object("capabilities", value)
    multiple = said.get("write_multiple", False)
    if not isinstance(multiple, bool):
        malformed("write_multiple", "true or false", multiple)
    host = said.get(_HOST, False)
    _page_size(_object("migration", said.get("migration", {})))
    return Capabilities(
        max_msg_fds=_number(said, "max_msg_fds", 1, 0, _MOST_FDS),
        max_data_xfer_size=_number(said, "max_data_xfer_size", MAX_TRANSFER, 1, (1 << 32) - 1),
        max_dma_maps=_number(said, "max_dma_maps", 65535, 0, (1 << 64) - 1),
        pgsizes=_number(said, "pgsizes", 4096, 1, (1 << 64) - 1),
        write_multiple=multiple,
        host=host if isinstance(host, bool) else HostSide.from_json(_object(_HOST, host)),
    )


def _page_size(migration: dict[str, object]) -> None:
    """Migration is not served, but what is said of it must make sense."""
    size = _number(migration, "pgsize", 4096, 4096, 1 << 62)
    if size & (size - 1):
        malformed("pgsize", "a power of two", size)

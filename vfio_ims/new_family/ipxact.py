# SPDX-License-Identifier: Apache-2.0
"""Blocks of registers from an IP-XACT description (IEEE 1685, or SPIRIT before it): one for each of its memory maps.

Needs peakrdl-ipxact, which reads it into the register model of systemrdl-compiler: ``pip install 'vfio-ims[ipxact]'``.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import ParseError

from vfio_ims.errors import SetupError, UsageError
from vfio_ims.new_family.systemrdl import classes_of_block

__all__ = ["blocks_from_ipxact"]


def blocks_from_ipxact(path: str | Path) -> str:
    """The classes for the component's memory maps: text to be put into a ``registers.py``.

    Raises SetupError without peakrdl-ipxact, UsageError where the description is wrong or says what a block cannot.
    """
    operation = f"read the IP-XACT description {path}"
    try:
        from peakrdl_ipxact import IPXACTImporter
        from systemrdl.compiler import RDLCompiler
        from systemrdl.component import Addrmap
        from systemrdl.messages import RDLCompileError
    except ImportError as error:
        why, hint = "peakrdl-ipxact is not installed", "pip install 'vfio-ims[ipxact]'"
        raise SetupError(operation, why=why, hint=hint) from error
    if not Path(path).is_file():
        raise UsageError(operation, why="there is no such file")
    compiler = RDLCompiler()
    classes: list[str] = []
    try:
        IPXACTImporter(compiler).import_file(str(path))
        made = [name for name, each in compiler.root.comp_defs.items() if isinstance(each, Addrmap)]
        # Each block of a map is one as well: map__block.
        for name in (name for name in made if not any(name.startswith(f"{other}__") for other in made)):
            classes += classes_of_block(compiler.elaborate(top_def_name=name).top, operation)
    except ParseError as error:
        raise UsageError(operation, why=f"it is no XML: {error}") from error
    except RDLCompileError as error:
        raise UsageError(operation, why=f"{error}: the lines are above") from error
    if not classes:
        raise UsageError(operation, why="it has no memory map with registers")
    return "\n\n\n".join(classes) + "\n"

# SPDX-License-Identifier: Apache-2.0
"""Files that import each other: none across packages, and inside one only an owner and its handles, each with a reason.

Every import in the text counts, those under TYPE_CHECKING and in functions too. A name that a package's face hands on
counts as an import of the module behind it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]

LARGEST = 6

# An owner and its handles, by module, and why each needs the other's name.
CIRCLES: dict[frozenset[str], str] = {
    frozenset(
        {"drivers.intel_idxd.driver.operation", "drivers.intel_idxd.driver.session"}
    ): "a session makes operations; an operation in flight is waited for through its session",
    frozenset(
        {"drivers.synopsys_edma.driver.transfer", "drivers.synopsys_edma.driver.work"}
    ): "a channel's work is transfers; a transfer is waited for through the work that it is part of",
    frozenset({"dma.buffer", "dma.space"}): "an address space maps buffers; a buffer gives itself back when it closes",
    frozenset({"interrupts.hub", "interrupts.wakeup"}): "a hub makes wake-up flags; a wait on a flag drains its hub",
    frozenset({"platform.function", "platform.platform"}): "a platform has functions; a function sends through it",
    frozenset({"ports.address_space", "ports.device"}): "a device has an address space, which may map a BAR of another",
    frozenset(
        {"registers.layout_checks", "registers.slots"}
    ): "a layout is checked when it is declared, by what looks at all of its fields",
    frozenset({"sysfs.function", "sysfs.groups"}): "a function is in a group, whose members are functions",
}


@cache
def modules() -> dict[str, Path]:
    """Every module by its name below ``vfio_ims``; a family's as drivers.FAMILY.MODULE."""
    found = {}
    for top, prefix in (("vfio_ims", ()), ("drivers", ("drivers",))):
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT / top).with_suffix("").parts
            if top == "vfio_ims" and parts[0] == "drivers":
                continue  # the link to ../drivers
            found[".".join((*prefix, *(parts[:-1] if parts[-1] == "__init__" else parts)))] = path
    return found


def imported(module: str, path: Path) -> Iterator[tuple[str, str]]:
    """Module and name of each ``from`` import, the module absolute below ``vfio_ims``."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name.removeprefix("vfio_ims."), "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            if node.level or source.partition(".")[0] == "vfio_ims":
                yield from ((source.removeprefix("vfio_ims").lstrip("."), alias.name) for alias in node.names)


@cache
def graph() -> dict[str, frozenset[str]]:
    faces = {
        (face, name): source
        for face, path in modules().items()
        if path.name == "__init__.py"
        for source, name in imported(face, path)
    }
    edges = {}
    for module, path in modules().items():
        wanted = set()
        for source, name in imported(module, path):
            full = f"{source}.{name}".lstrip(".")
            wanted.add(full if full in modules() else faces.get((source, name), source))
        edges[module] = frozenset(w for w in wanted if w in modules() and modules()[w].name != "__init__.py") - {module}
    return edges


def reached(start: str) -> set[str]:
    seen: set[str] = set()
    waiting = list(graph()[start])
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            waiting += graph()[module]
    return seen


@cache
def circles() -> frozenset[frozenset[str]]:
    inside = {module: ahead for module in graph() if module in (ahead := reached(module))}
    return frozenset(
        frozenset(other for other in ahead if other in inside and module in inside[other])
        for module, ahead in inside.items()
    )


def test_no_circle_spans_packages() -> None:
    spanning = [sorted(circle) for circle in circles() if len({module.rpartition(".")[0] for module in circle}) > 1]
    assert not spanning


def test_circles_are_an_owner_and_its_handles() -> None:
    unknown = [sorted(circle) for circle in circles() if circle not in CIRCLES]
    assert not unknown, "break it, or list it with its reason"
    assert not [sorted(circle) for circle in CIRCLES if circle not in circles()], "listed and no longer there"
    assert not [sorted(circle) for circle in circles() if len(circle) > LARGEST]

# SPDX-License-Identifier: Apache-2.0
"""The house: imports go one way, vendors stay in their folders, modules stay small, every file says its licence."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from vfio_ims.families import all_families
from vfio_ims.testing.folders import folder_problems

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "vfio_ims"

# From the bottom: a room may import from floors below its own.
FLOORS = (
    {"counted"},
    {"errors", "json_input", "printable", "provenance", "ranges"},
    {"schemas"},
    {"html"},  # pages are made of plain records, and know no device
    {"interruption", "authors", "messages"},
    {"ports", "locks"},
    {"pci", "clock"},
    {"registers", "lifetime"},
    {"sysfs", "native"},
    {"platform"},
    {"vfio_user"},
    {"backends"},
    {"models"},
    {"interrupts", "dma"},
    {"device"},
    {"ims"},
    {"families"},
    {"tracing"},
    {"faults"},
    {"names"},
    {"driver"},
    {"stores"},
    {"drivers"},
    {"selftest", "host"},
    {"proof"},  # of both: doctor and binding, and the self-test
    {"testing", "new_family", "labs"},
    {"cli"},
)
FLOOR = {room: number for number, floor in enumerate(FLOORS) for room in floor}

# Words of one vendor's devices, and who may know them outside the drivers' folders.
VENDOR_WORDS = re.compile(r"\b(?:dsa|iaa|iax|idxd|qat|dlb)\b|8086|\bsapphire", re.IGNORECASE)
KNOWS_VENDORS = {
    "pci/capabilities/dvsec.py": "the SIOV DVSEC is Intel's: vendor 8086, id 5",
    "cli/demo.py": "the device that the demo shows unless another is named",
    "testing/marker.py": "an example in the marker's signature",
    "host/denylist.py": "vfio-pci's list of devices that it refuses",
    "host/in_use.py": "who uses a device that a kernel driver has: each driver says it in its own way",
    "host/planning.py": "a kernel driver that is known to crash when it loses its device",
    "host/rules.py": "a warning in the rules for devices on the denylist",
    "host/doctor/cpu.py": "what work queues need of the processor",
}

LIMIT = 400  # lines; most modules have fewer than 200


class Import(NamedTuple):
    """One import that runs: the module it is in, what it imports, and whether a function runs it."""

    module: str
    target: str
    lazy: bool

    @property
    def room(self) -> str:
        return self.module.partition(".")[0]

    @property
    def other(self) -> str:
        return self.target.partition(".")[0]


@cache
def sources() -> dict[str, ast.Module]:
    """Every module by its name below the package; a driver folder's as drivers.FAMILY.MODULE."""
    files = {path for path in PACKAGE.rglob("*.py") if "drivers" not in path.relative_to(PACKAGE).parts[:1]}
    names = {path: path.relative_to(PACKAGE) for path in files}
    names |= {path: path.relative_to(ROOT) for path in (ROOT / "drivers").rglob("*.py")}
    return {
        ".".join(name.with_suffix("").parts).removesuffix(".__init__"): ast.parse(path.read_text(), str(path))
        for path, name in sorted(names.items())
    }


def imports(module: str, node: ast.AST, lazy: bool = False) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ImportFrom) and child.level == 0 and child.module:
            names = [child.module]
            if child.module == "vfio_ims":
                names = [f"vfio_ims.{alias.name}" for alias in child.names]
            yield from kit(module, names, lazy)
        elif isinstance(child, ast.Import):
            yield from kit(module, [alias.name for alias in child.names], lazy)
        yield from imports(module, child, lazy or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)))


def kit(module: str, names: list[str], lazy: bool) -> Iterator[Import]:
    for name in names:
        head, _, rest = name.partition(".")
        if head == "vfio_ims" and rest.partition(".")[0] in FLOOR:
            yield Import(module, rest, lazy)


@cache
def all_imports() -> tuple[Import, ...]:
    return tuple(found for module, tree in sources().items() if module != "__init__" for found in imports(module, tree))


def test_every_room_has_its_floor() -> None:
    rooms = {path.stem if path.suffix == ".py" else path.name for path in PACKAGE.iterdir() if path.name[0] not in "_."}
    assert rooms - {"py.typed"} == set(FLOOR)


def test_imports_go_down() -> None:
    """Without an exception, and also those that only types need."""
    wrong = [
        f"vfio_ims.{found.module} imports {found.target}"
        for found in all_imports()
        if found.room != found.other and FLOOR[found.other] >= FLOOR[found.room]
    ]
    assert not wrong, "\n".join(wrong)


def test_pure_rooms_do_no_io() -> None:
    """They decode: no files, no system calls, no clock, no compiled code."""
    pure = {"errors", "ports", "messages", "pci", "registers"}
    forbidden = {"os", "io", "socket", "subprocess", "pathlib", "time", "threading", "mmap", "fcntl", "cffi", "ctypes"}
    found = []
    for module, tree in sources().items():
        if module.partition(".")[0] in pure:
            for node in ast.walk(tree):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                found += [f"{module} imports {name}" for name in names if name.partition(".")[0] in forbidden]
    # strerror, to word what the kernel answered; the type of a model's lock
    assert sorted(found) == ["errors imports os", "ports.model imports threading"]


def test_backends_are_handed_their_models() -> None:
    assert not [found for found in all_imports() if found.room in ("backends", "vfio_user") and found.other == "models"]


def test_a_driver_does_not_import_its_model() -> None:
    families = all_families()
    assert {"minimal", "intel_idxd"} <= {family.name for family in families}
    assert not [problems for family in families if (problems := folder_problems(family))]


def test_driver_and_model_share_hardware_only() -> None:
    """In a family's packages, by every import in the text: a user with silicon never loads a model."""
    may = {"hardware": {"hardware"}, "driver": {"driver", "hardware"}, "model": {"model", "hardware"}}
    wrong = []
    for side, allowed in may.items():
        files = sorted((ROOT / "drivers").glob(f"*/{side}/**/*.py"))
        assert files
        for path in files:
            family, *around = path.relative_to(ROOT / "drivers").parts[:-1]
            for name in inside_family(ast.parse(path.read_text()), family, around):
                if name.partition(".")[0] not in allowed:
                    wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong, "\n".join(wrong)


def inside_family(tree: ast.Module, family: str, around: list[str]) -> Iterator[str]:
    """What a module of the family's package ``around`` imports of the family, as names below the family's folder."""
    package = ["vfio_ims", "drivers", family]
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            inside = [*package, *around]
            start = inside[: len(inside) + 1 - node.level] if node.level else []
            base = [*start, *([node.module] if node.module else [])]
            names = [".".join([*base, alias.name]) for alias in node.names]
        prefix = ".".join(package) + "."
        yield from (name.removeprefix(prefix) for name in names if name.startswith(prefix))


def test_driver_folders_do_not_know_each_other() -> None:
    wrong = []
    for found in all_imports():
        if found.room == "drivers" and found.other == "drivers":
            family = found.module.split(".")[1] if "." in found.module else ""
            if family not in found.target.split("."):
                wrong.append(f"{found.module} imports {found.target}")
    for module, tree in sources().items():
        if module.startswith("drivers."):
            package = (ROOT / module.replace(".", "/") / "__init__.py").is_file()
            depth = len(module.split(".")) - 2 + package  # of the module's package below drivers/
            wrong += [
                f"{module} reaches out of its folder in line {node.lineno}"
                for node in ast.walk(tree)
                if isinstance(node, ast.ImportFrom) and node.level > depth
            ]
    assert not wrong, "\n".join(wrong)


def code_words(tree: ast.Module) -> Iterator[str]:
    """Names and strings of the code itself. Docstrings and comments are left out: they say where a fact is from."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    docstrings |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # attributes' docstrings
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in docstrings:
            yield hex(node.value) if isinstance(node.value, int) else str(node.value)
        elif isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            yield node.name


def test_vendors_stay_in_their_folders() -> None:
    knowing = set()
    for module, tree in sources().items():
        if not module.startswith("drivers"):
            words = [word for word in code_words(tree) if VENDOR_WORDS.search(word.replace("_", " "))]
            path = module.replace(".", "/") + ".py"
            assert not words or path in KNOWS_VENDORS, f"{path} knows a vendor: {words}"
            if words:
                knowing.add(path)
    assert knowing == set(KNOWS_VENDORS), "an exception that is no longer needed"


def test_modules_are_small() -> None:
    sizes = {}
    for folder in (PACKAGE, ROOT / "drivers"):
        for path in folder.rglob("*.py"):
            name = str(path.relative_to(folder))
            if folder != PACKAGE or not name.startswith("drivers"):
                sizes[name] = len(path.read_text().splitlines())
    large = {name: size for name, size in sizes.items() if size > LIMIT}
    assert not large, f"over {LIMIT} lines: {large}"
    small = sum(size < 200 for size in sizes.values())
    assert small > 0.85 * len(sizes), f"{small} of {len(sizes)} modules have fewer than 200 lines"


# --- files ------------------------------------------------------------------------------------------------------------


@cache
def tracked() -> tuple[Path, ...]:
    try:
        listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout: which files are the project's is not known")
    return tuple(path for name in listed.splitlines() if (path := ROOT / name).is_file() and not path.is_symlink())


def test_every_source_says_its_licence() -> None:
    endings = {".py", ".c", ".h", ".sh"}  # rules files are what the command prints
    missing = []
    for path in tracked():
        text = path.read_bytes()[:400].decode(errors="replace")
        if path.suffix in endings or text.startswith("#!"):
            lines = text.splitlines()[: 2 if text.startswith("#!") else 1]
            # A kernel module of the lab's says "GPL-2.0 OR Apache-2.0": Linux takes no other into itself.
            if not any("SPDX-License-Identifier: " in line and "Apache-2.0" in line for line in lines):
                missing.append(str(path.relative_to(ROOT)))
    assert not missing, f"no SPDX line at the top of {missing}"


def test_no_file_names_a_place_on_one_machine() -> None:
    places = re.compile(r"(?<![\w.$}\"])/(?:work|home/\w+|tmp/venv)\b/?|/root/\.")
    wrong = []
    for path in tracked():
        if path.name == Path(__file__).name or path.suffix in (".png", ".gz", ".bin"):
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if places.search(line):
                wrong.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert not wrong, "\n".join(wrong)

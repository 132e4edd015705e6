# SPDX-License-Identifier: Apache-2.0
"""A new family of devices: a folder that runs at once, with the example device's registers until it has its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from zlib import crc32

import vfio_ims.families
from vfio_ims.errors import SetupError, UsageError
from vfio_ims.families import all_families

__all__ = ["folder_of", "make_family"]

_NAME = re.compile(r"[a-z][a-z0-9]*([_-][a-z0-9]+)*")
_ID = re.compile(r"[0-9a-f]{4}:[0-9a-f]{4}")
_EXAMPLE = "minimal"
_MODULES = ("__init__.py", "registers.py", "driver.py", "model.py")
_LICENCE = "# SPDX-License-Identifier: Apache-2.0\n"


def make_family(name: str, device_id: str | None = None, where: str | Path = ".") -> Path:
    """Write the folder of a family called ``name`` into ``where``, and return its path; nothing there is overwritten.

    ``device_id`` as ``lspci -n`` prints it; None: one that no family here has, to be replaced by the device's own.
    Raises UsageError for a name or an id that cannot be or is taken, SetupError where the folder cannot be written.
    """
    operation = f"make the family {name}"
    if not _NAME.fullmatch(name):
        why = f"its name must be small letters and digits, with - or _ between words, not {name!r}"
        raise UsageError(operation, why=why, hint="vfio-ims new acme-ring")
    families = all_families()
    if device_id is not None and not _ID.fullmatch(device_id):
        why = f"its id must be as lspci -n prints it, such as 1234:1a55 in small letters, not {device_id!r}"
        raise UsageError(operation, why=why)
    for family in families:
        if name == family.name or name in family.models:
            raise UsageError(operation, why=f"there is a family or a model of that name ({family.name})")
        if device_id in family.ids:
            raise UsageError(operation, why=f"family {family.name} has the id {device_id}")
    chosen = device_id or _free_id(name, {one for family in families for one in family.ids})
    folder = folder_of(name, where)
    try:
        (folder / "tests").mkdir(parents=True)
        for file, text in _files(name, chosen).items():
            (folder / file).write_text(text, encoding="utf-8")
    except FileExistsError as error:
        raise UsageError(operation, why=f"{folder} exists already", hint="another name, or another --in") from error
    except OSError as error:
        raise SetupError(f"write {error.filename or folder}", errno=error.errno) from error
    return folder


def folder_of(name: str, where: str | Path = ".") -> Path:
    """The folder of the family called ``name`` in ``where``."""
    return Path(where) / name.replace("-", "_")


def _free_id(name: str, taken: set[str]) -> str:
    """An id of the example's vendor that no family has; the same one for the same name."""
    start = crc32(name.encode())
    return next(one for one in (f"1234:{start + n & 0x7FFF | 0x8000:04x}" for n in range(0x8000)) if one not in taken)


def _files(name: str, device_id: str) -> Mapping[str, str]:
    """Every file by its place in the folder."""
    kind = "".join(part.capitalize() for part in re.split("[_-]", name))
    example = Path(vfio_ims.families.__file__).parents[1] / "drivers" / _EXAMPLE
    swaps = (
        ("The smallest complete device: what an author of a driver copies.", f"The family {name}: see README.md."),
        ("example device", f"device {name}"),
        (" It exists in software only.", " Name the source of each fact."),
        ("MinimalModel", f"{kind}Model"),
        ("Minimal", kind),
        (_EXAMPLE, name),
        ("1234:1a55", device_id),
    )
    files = {}
    for module in _MODULES:
        text = (example / module).read_text(encoding="utf-8")
        for old, new in swaps:
            text = text.replace(old, new)
        files[module] = text
    fill = {"NAME": name, "KIND": kind, "ID": device_id, "FOLDER": name.replace("-", "_")}
    for file, text in _TEMPLATES.items():
        for word, value in fill.items():
            text = text.replace(f"@{word}@", value)
        files[file.replace("@FOLDER@", fill["FOLDER"])] = text
    return files


_TEMPLATES = {
    "README.md": """# @NAME@

A family of devices for vfio-ims, made by `vfio-ims new @NAME@`. It runs as it is: its registers are those of an
example device, @ID@. Make it yours in this order, with the tests green after each step.

1. `registers.py`: your registers and your slot table. Name the source of each fact.
2. `model.py`: what a write to them sets off. Masks, pending bits and shared addresses come from the layout.
3. `driver.py`: how the device is started, how a slot is raised, how it is stopped.
4. `__init__.py`: the ids of your devices; `model.py` has one of them.

```sh
pytest tests                                        # on the model, in this process
vfio-ims --driver . selftest mock:@NAME@            # every slot
vfio-ims --driver . selftest 0000:01:00.0           # on silicon
pytest tests --vfio-device 0000:01:00.0             # and the same tests there
```

What each callback promises is written at it, in `vfio_ims/driver.py`; `tests/test_conformance.py` tests that.
""",
    "tests/conftest.py": _LICENCE
    + '''"""The tests know this folder's family, wherever they are run from."""

from pathlib import Path

from vfio_ims.families import load_folder

load_folder(Path(__file__).parents[1])
''',
    "tests/test_conformance.py": _LICENCE
    + '''"""Is the driver right? The contract of a driver, callback by callback, on @NAME@."""

import pytest

from vfio_ims.testing.conformance import *  # noqa: F403

pytestmark = pytest.mark.vfio(model="@NAME@")
''',
    "tests/test_@FOLDER@.py": _LICENCE
    + '''"""@NAME@: on the model in this process, or on the silicon that --vfio-device names."""

import pytest

from vfio_ims.driver import Driver
from vfio_ims.ims import FireStatus
from vfio_ims.selftest import run
from vfio_ims.testing import silent

pytestmark = pytest.mark.vfio(model="@NAME@")


def test_a_fired_slot_wakes_its_owner_once(ims_driver: Driver) -> None:
    with ims_driver.ims.allocate() as irq:
        assert ims_driver.fire(irq.slot).status is FireStatus.SENT
        assert irq.wait(timeout=1)
        assert silent(irq)


def test_interrupts_survive_a_reset(ims_driver: Driver) -> None:
    with ims_driver.ims.allocate() as irq:
        ims_driver.reset()
        irq.wait(timeout=0)  # every owner is woken once
        ims_driver.fire(irq.slot)
        assert irq.wait(timeout=1)


def test_every_slot(ims_driver: Driver) -> None:
    report = run(ims_driver)
    assert report.passed, report
''',
}

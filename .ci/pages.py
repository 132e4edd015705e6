# SPDX-License-Identifier: Apache-2.0
"""MkDocs hooks: files beside docs/ become pages, so that a link means the same in the repository and on the site.

``PAGES`` names them. A link to anything else outside docs/ is a warning, which a strict build turns into a failure.
"""

from __future__ import annotations

import ast
import logging
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

log = logging.getLogger("mkdocs.hooks.pages")
ROOT = Path(__file__).parent.parent

PAGES = {
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    ".ci/README.md": "project/gate.md",
    "tests/vm/README.md": "project/vm.md",
    "tests/arm64/README.md": "project/arm64.md",
    "tests/fuzz/README.md": "project/fuzz.md",
    "udev-rules/README.md": "udev-rules.md",
    "drivers/intel_idxd/README.md": "drivers/intel_idxd.md",
    "drivers/intel_dlb/README.md": "drivers/intel_dlb.md",
    "drivers/synopsys_edma/README.md": "drivers/synopsys_edma.md",
}
SOURCES = {  # a page that shows one file or several
    "drivers/minimal": ("drivers/minimal.md", "The smallest family: drivers/minimal", "*.py"),
    "udev-rules/60-vfio-ims.rules": ("sources/udev-rules.md", "The udev rules", ""),
    **{
        f"examples/{path.name}": (f"examples/{path.stem}.md", f"examples/{path.name}", "")
        for path in sorted((ROOT / "examples").iterdir())
        if path.is_file()
    },
}
PLACES = {
    **PAGES,
    **{source: place for source, (place, _, _) in SOURCES.items()},
    **{posixpath.dirname(source): place for source, place in PAGES.items() if source.endswith("/README.md")},
    **{
        f"vfio_ims/schemas/{path.name}": f"schemas/{path.name}"
        for path in sorted((ROOT / "vfio_ims" / "schemas").glob("*.json"))
    },
    "README.md": "index.md",
    "examples": "examples/index.md",
}
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]+)")
_LANGUAGES = {".py": "python", ".toml": "toml", ".rules": "text"}


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of ``PAGES`` and ``SOURCES``, the list of the examples, and the JSON schemas."""
    for source, place in PAGES.items():
        files.append(File.generated(config, place, content=(ROOT / source).read_text()))
    for source, (place, title, pattern) in SOURCES.items():
        files.append(File.generated(config, place, content=_listing(ROOT / source, title, pattern)))
    files.append(File.generated(config, "examples/index.md", content=_examples()))
    for source, place in PLACES.items():
        if source.startswith("vfio_ims/schemas/"):
            files.append(File.generated(config, place, content=(ROOT / source).read_text()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links between files of the repository into links between pages."""
    here = page.file.src_uri
    source = {place: source for source, place in PAGES.items()}.get(here, f"docs/{here}")

    def to_page(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[1]))
        if target.startswith("docs/"):
            place = target.removeprefix("docs/")
        elif target in PLACES:
            place = PLACES[target]
        else:
            log.warning("%s links to %s, which has no page: .ci/pages.py, PAGES", source, target)
            return link[1]
        return posixpath.relpath(place, posixpath.dirname(here) or ".")

    if here in {place for place, _, _ in SOURCES.values()} or here == "examples/index.md":
        return markdown
    return _LINK.sub(to_page, markdown)


def _listing(path: Path, title: str, pattern: str) -> str:
    files = sorted(path.glob(pattern)) if pattern else [path]
    parts = [f"# {title}"]
    for file in files:
        language = _LANGUAGES.get(file.suffix, "text")
        parts.append(f'````{language} title="{file.relative_to(ROOT)}"\n{file.read_text()}````')
    return "\n\n".join(parts) + "\n"


def _examples() -> str:
    lines = ["# Examples", "", "Each runs on a model as it is, and takes another device's name as its argument.", ""]
    for path in sorted((ROOT / "examples").iterdir()):
        if path.is_file():
            lines.append(f"- [{path.name}]({path.stem}.md): {_summary(path)}")
    return "\n".join(lines) + "\n"


def _summary(path: Path) -> str:
    text = path.read_text()
    if path.suffix == ".py":
        return (ast.get_docstring(ast.parse(text)) or "").partition("\n\n")[0]
    first = next(line for line in text.splitlines() if line.startswith("#") and "SPDX" not in line)
    return first.lstrip("# ")

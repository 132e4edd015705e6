# SPDX-License-Identifier: Apache-2.0
"""Pages of results: one HTML file each, that needs no network, reads well light, dark, narrow and printed.

Pages are made of plain records (what ``--json`` prints), not of live objects, so that an old run gives the same page::

    from vfio_ims.html import Page, Section, elements, write_page

    page = Page(
        title="Proof of 0000:6a:01.0",
        verdict="failed",                                  # "passed", "failed", "interrupted": the badge
        summary="5 of 6 stages passed in 12.3 s",
        sections=[
            Section("Stages", elements.outcomes([("open", "passed", "group 12"), ("DMA", "failed", "no write seen")])),
            Section("Latency", latency_figure(samples_us)),
            Section("Conditions", elements.facts({"kernel": "Linux 6.12", "driver": "Dsa"})),
        ],
        record=answer,                                     # optional: the JSON itself, kept within the page
    )
    write_page(page, "proof.html")

``elements`` are pieces of markup that escape whatever they are given: ``outcomes``, ``facts``, ``table``, ``figure``,
``findings``, ``paragraph``; several of them joined by ``elements.join``. ``html.latency.latency_figure`` and
``html.slot_map.slot_map`` are pictures; ``html.selftest.selftest_sections`` is all that a self-test has to show, for a
page that has one among other things (give that page ``scripts=["slots.js"]`` and the self-test's answer as ``record``).

Needs the extra ``vfio-ims[html]`` (Jinja2, and matplotlib for pictures): SetupError without it.
"""

from vfio_ims.html import elements
from vfio_ims.html.page import Page, Section, ready, render, write_page

__all__ = ["Page", "Section", "elements", "ready", "render", "write_page"]

# SPDX-License-Identifier: Apache-2.0
"""``selftest --html`` and ``report RUN --html``, as their users call them."""

from __future__ import annotations

from pathlib import Path

from tests.cli.test_verbs import vfio_ims
from vfio_ims.html.reading import read_runs


def test_a_page_of_a_run_and_of_two(tmp_path: Path) -> None:
    sound, broken, both = (str(tmp_path / name) for name in ("sound.html", "broken.html", "both.html"))
    done = vfio_ims("selftest", "mock:minimal", "--no-reset", "--html", sound)
    assert done.returncode == 0
    assert done.stderr.endswith(f"{sound}: the results as a page\n")
    assert "PASSED" in done.stdout
    done = vfio_ims("selftest", "mock:minimal,defect=alias", "--json", "--html", broken)
    assert done.returncode == 1
    (tmp_path / "broken.json").write_text(done.stdout)
    assert read_runs(tmp_path / "broken.json")[0]["findings"] == read_runs(broken)[0]["findings"]
    done = vfio_ims("report", sound, str(tmp_path / "broken.json"), "--html", both)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{both}: the two runs side by side\n", "")
    assert [run["verdict"] for run in read_runs(both)] == ["passed", "failed"]


def test_a_page_that_cannot_be_written_is_said_before_the_run(tmp_path: Path) -> None:
    done = vfio_ims("selftest", "mock:minimal", "--html", str(tmp_path / "no" / "such.html"))
    assert (done.returncode, done.stdout) == (3, "")
    assert "no folder that you may write to" in done.stderr


def test_report_says_what_to_give_it(tmp_path: Path) -> None:
    run = tmp_path / "run.json"
    run.write_text("{}")
    for arguments, says in (
        ((str(run),), f"vfio-ims report {run} --html"),
        (("a", "b"), "--html FILE"),
        ((str(run), "--html", str(tmp_path / "page.html")), "names no schema"),
        ((str(run), "--html", "x.html", "-o", "y"), "-o is for a device's bug report"),
    ):
        done = vfio_ims("report", *arguments)
        assert (done.returncode, done.stdout) == (2, ""), done
        assert says in done.stderr

# SPDX-License-Identifier: Apache-2.0
"""A device that is gone: one test says so, the others are skipped with one reason."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from vfio_ims.testing.server import ServedModel

TESTS = """
    import os, signal, pytest

    def test_before(ims_driver): pass

    def test_dies(ims_driver):
        os.kill({pid}, signal.SIGKILL)
        ims_driver.ims.allocate()

    @pytest.mark.parametrize("n", range(8))
    def test_after(ims_driver, n): pass

    def test_without_a_device(): pass
"""


@pytest.fixture
def served(inner: pytest.Pytester) -> Iterator[ServedModel]:
    server = ServedModel("minimal", inner.path)
    yield server
    server.close()


@pytest.mark.parametrize("scope", ["function", "session"])
def test_the_rest_is_skipped_with_one_reason(inner: pytest.Pytester, served: ServedModel, scope: str) -> None:
    inner.makepyfile(test_it=TESTS.format(pid=served.pid))
    result = inner.runpytest("--vfio-device", served.name, "--vfio-scope", scope, "-rs")
    result.assert_outcomes(passed=2, failed=1, skipped=8)
    result.stdout.fnmatch_lines(
        ["SKIPPED [[]8] *vfio-user:* was lost in test_it.py::test_dies*: the other side closed*"]
    )
    assert len(result.outlines) < 80


def test_a_device_that_answers_again_is_used_again(inner: pytest.Pytester, served: ServedModel) -> None:
    inner.makepyfile(
        f"""
        import os, pytest, signal
        from pathlib import Path
        from vfio_ims.testing.server import ServedModel

        @pytest.fixture
        def restarted():
            yield
            Path("socket").unlink(missing_ok=True)
            globals()["again"] = ServedModel("minimal", Path.cwd())

        def test_dies(restarted, ims_driver):
            os.kill({served.pid}, signal.SIGKILL)
            ims_driver.ims.allocate()

        def test_after(ims_driver):
            pass

        def test_ends_it():
            again.close()
    """
    )
    inner.runpytest("--vfio-device", served.name).assert_outcomes(passed=2, failed=1)


def test_a_device_that_does_not_open_is_one_error(inner: pytest.Pytester, served: ServedModel) -> None:
    served.close()
    served.path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as nobody:
        nobody.bind(str(served.path))
    inner.makepyfile(
        """
        import pytest

        @pytest.mark.parametrize("n", range(8))
        def test_it(ims_driver, n): pass
    """
    )
    result = inner.runpytest("--vfio-device", served.name, "-rs")
    result.assert_outcomes(errors=1, skipped=7)
    result.stdout.fnmatch_lines(["SKIPPED [[]7] *could not be opened in *test_it*: connect: no server listens there"])
    assert len(result.outlines) < 30

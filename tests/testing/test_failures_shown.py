# SPDX-License-Identifier: Apache-2.0
"""What a failed test shows of its devices: as they were when it failed, with what was last done with them."""

from __future__ import annotations

import pytest

WITH = """
    import pytest
    import vfio_ims

    @pytest.fixture
    def mine(vfio_name):
        with vfio_ims.open_driver(vfio_name) as driver:
            yield driver

    def test_it({fixture}):
        with {fixture}.ims.allocate(masked=True) as irq:
            {fixture}.fire(irq.slot)
            {failure}
"""


def shown(result: pytest.RunResult, title: str) -> list[str]:
    """The lines of one section of a report."""
    start = next(number for number, line in enumerate(result.outlines) if line.strip("- ").startswith(title))
    rest = result.outlines[start + 1 :]
    end = next(number for number, line in enumerate(rest) if line.startswith(("--", "==")))
    return rest[:end]


@pytest.mark.parametrize("fixture", ["ims_driver", "mine"])
def test_the_state_is_that_before_with_blocks_closed_anything(inner: pytest.Pytester, fixture: str) -> None:
    inner.makepyfile(WITH.format(fixture=fixture, failure="assert irq.wait(timeout=0)"))
    result = inner.runpytest()
    result.assert_outcomes(failed=1)
    state = shown(result, "device mock:minimal")
    assert state[:2] == ["IMS usable: 16 slots, 4 donors, remapping on", "mock:minimal: 1 of 16 slots in use, 1 donor"]
    assert state[-1].endswith("masked pending")


@pytest.mark.parametrize("failure", ["irq.close(); raise ValueError", "pytest.fail('so')"])
def test_an_error_shows_our_books_without_an_access(inner: pytest.Pytester, failure: str) -> None:
    """Any error may be one that the test expects: it is not to change what the test does with its device."""
    inner.makepyfile(WITH.format(fixture="ims_driver", failure=failure))
    result = inner.runpytest()
    result.assert_outcomes(failed=1)
    used = 0 if "close" in failure else 1
    assert f"<ImsDomain of mock:minimal: {used} of 16 slots allocated, 1 donor>" in shown(result, "device mock:minimal")


def test_an_expected_error_makes_no_access(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
        import pytest
        from vfio_ims.testing.accesses import expect_accesses

        def test_it(ims_driver):
            irq = ims_driver.ims.allocate()
            with expect_accesses(ims_driver, "read32 ID"), pytest.raises(ValueError):
                with ims_driver.device.dma.allocate(4096):
                    ims_driver.device.bar(0).read32(0)
                    raise ValueError
    """
    )
    inner.runpytest().assert_outcomes(passed=1)


def test_the_last_accesses_and_interrupts_have_names(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
        import threading

        def test_it(ims_driver):
            irq = ims_driver.ims.allocate()
            ims_driver.fire(irq.slot)
            assert irq.wait(timeout=5)
            read = lambda: [ims_driver.device.bar(0).read32(0) for _ in range(3)]
            other = threading.Thread(target=read, name="reader")
            other.start()
            other.join()
            assert False
    """
    )
    result = inner.runpytest("--vfio-last=5")
    lines = shown(result, "last accesses and interrupts of mock:minimal")
    assert len(lines) == 5
    assert lines[-4].endswith("ms  write 32 bits FIRE (BAR 0 +0x8) = 0x0")
    assert lines[-2].endswith("ms  interrupt MSIX vector 0, count 1")
    assert lines[-1].endswith("ms  read 32 bits ID (BAR 0 +0x0) = 0x494d5331, 3 times  [reader]")
    assert "last accesses" not in inner.runpytest("--vfio-last=0").stdout.str()


def test_what_a_test_records_itself_is_kept_too(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
        import vfio_ims

        def test_it(ims_driver):
            with vfio_ims.trace(ims_driver, "mine.jsonl"):
                ims_driver.device.bar(0).read32(0)
            ims_driver.device.bar(0).read32(0x10)
            assert False
    """
    )
    lines = shown(inner.runpytest("--vfio-last=2"), "last accesses")
    assert ["ID" in lines[0], "STATUS" in lines[1]] == [True, True]
    assert '"ID"' in (inner.path / "mine.jsonl").read_text()


def test_a_driver_that_does_not_start_shows_what_it_did(inner: pytest.Pytester) -> None:
    folder = inner.mkpydir("broken")
    (folder / "__init__.py").write_text(
        "from vfio_ims.families import Family\n"
        "family = Family('broken', ids=['abcd:0003'], driver='both:Broken', models={'broken': 'both:Model'})\n"
    )
    (folder / "both.py").write_text(
        "from vfio_ims.drivers.minimal.driver import Minimal\n"
        "from vfio_ims.drivers.minimal.model import MinimalModel\n"
        "class Broken(Minimal):\n"
        "    def start(self): self.device.bar(0).read32(0x10); raise ValueError('not ready')\n"
        "class Model(MinimalModel):\n"
        "    id = 'abcd:0003'\n"
    )
    inner.makepyfile("def test_it(ims_driver): pass")
    result = inner.runpytest("--vfio-driver", "broken", "--vfio-device", "mock:broken")
    result.assert_outcomes(errors=1)
    assert any("+0x10" in line for line in shown(result, "last accesses and interrupts of mock:broken"))


def test_a_test_that_is_run_again_shows_its_last_run_only(inner: pytest.Pytester) -> None:
    """As plug-ins do that run failed tests again, and a sweep of faults, whose runs are thousands."""
    inner.makeconftest(
        """
        import pytest
        from _pytest.runner import runtestprotocol

        @pytest.hookimpl(tryfirst=True)
        def pytest_runtest_protocol(item, nextitem):
            for last in (False, True):
                item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
                runtestprotocol(item, log=last, nextitem=nextitem)
            return True
    """
    )
    inner.makepyfile(WITH.format(fixture="ims_driver", failure="assert irq.wait(timeout=0)"))
    result = inner.runpytest()
    result.assert_outcomes(failed=1)
    sections = [line for line in result.outlines if line.strip("- ").startswith("last accesses and interrupts")]
    assert len(sections) == 1

# SPDX-License-Identifier: Apache-2.0
"""The pytest plug-in, from outside: runs of pytest over little test files."""

from __future__ import annotations

import socket
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

USES_BOTH = """
    import pytest

    def test_bare(vfio_device):
        assert vfio_device.config.read(0, 2) == 0x1234

    @pytest.mark.vfio(model="minimal")
    def test_driven(ims_driver):
        with ims_driver.ims.allocate() as irq:
            ims_driver.fire(irq.slot)
            assert irq.wait(timeout=5)
"""


def test_tests_run_on_models_while_no_device_is_named(inner: pytest.Pytester) -> None:
    inner.makepyfile(USES_BOTH)
    result = inner.runpytest()
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["vfio-ims: 2 on mock:minimal"])


def test_a_named_device_runs_the_tests_that_it_is_for(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        USES_BOTH
        + """
    @pytest.mark.vfio(match="8086:")
    def test_of_another_vendor(ims_driver):
        raise AssertionError
    """
    )
    result = inner.runpytest("--vfio-device", "mock:minimal,merge=never", "-rs", "-v")
    result.assert_outcomes(passed=2, skipped=1)
    result.stdout.fnmatch_lines(
        [
            "vfio-ims: * devices mock:minimal,merge=never",
            "vfio-ims: 2 on mock:*never, 1 for other devices",
            "SKIPPED*mock:minimal,merge=never is 1234:1a55, * for 8086:",
        ]
    )


def test_the_environment_names_devices_too(inner: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VFIO_IMS_DEVICE", "mock:minimal,seed=1 mock:minimal,seed=2")
    inner.makepyfile(USES_BOTH)
    result = inner.runpytest()
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["*2 on mock:minimal,seed=1, 2 on mock:minimal,seed=2*"])


def test_require_makes_a_test_fail_that_no_device_is_for(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
        import pytest

        @pytest.mark.vfio(match="8086:0b25")
        def test_it(ims_driver):
            raise AssertionError
    """
    )
    inner.runpytest("--vfio-device", "mock:minimal").assert_outcomes(skipped=1)
    result = inner.runpytest("--vfio-device", "mock:minimal", "--vfio-require")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["no device for this test: mock:minimal is 1234:1a55, this test is for 8086:0b25"])


def test_require_lets_one_of_several_devices_do(inner: pytest.Pytester, tmp_path: Path) -> None:
    folder = other_family(tmp_path)
    inner.makepyfile(
        """
        import pytest

        @pytest.mark.vfio(match=("abcd:", "abce:"), model="minimal,flr=no")
        def test_it(ims_driver):
            assert ims_driver.device.can_reset
    """
    )
    devices = ["--vfio-device", "mock:minimal", "--vfio-device", "mock:other"]
    result = inner.runpytest("--vfio-driver", str(folder), *devices, "--vfio-require")
    result.assert_outcomes(passed=1, skipped=1)


def test_require_without_a_device_is_a_mistake(inner: pytest.Pytester) -> None:
    inner.makepyfile(USES_BOTH)
    result = inner.runpytest("--vfio-require")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--vfio-require needs a device*VFIO_IMS_DEVICE*"])


def test_a_named_device_that_does_not_open_is_never_a_skip(inner: pytest.Pytester) -> None:
    inner.makepyfile(USES_BOTH)
    with socket.socket(socket.AF_UNIX) as nobody:
        nobody.bind(str(inner.path / "here.sock"))
    result = inner.runpytest("--vfio-device", f"vfio-user:{inner.path}/here.sock", "-k", "bare")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*vfio-user:*here.sock: connect: no server listens there: Connection refused"])


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("mock:yours", "*model must be one of *minimal*, not 'yours'*--vfio-driver PATH*"),
        ("nonsense", "*'nonsense' is neither a PCI address such as*"),
        ("mock:minimal,flar=no", "*option must be one of*not 'flar'; did you mean 'flr'?*"),
        ("vfio-user:/nobody/here.sock", "*here.sock: look for the socket: No such file*next: vfio-ims serve MODEL*"),
        ("vfio-user:/dev/null", "*/dev/null: look for the socket: that is no socket*"),
        ("ffff:ff:1f.7", "*ffff:ff:1f.7: look up a device: there is no such PCI function here*vfio-ims list*"),
        ("replay:nowhere.jsonl", "*read the recording nowhere.jsonl: No such file*"),
    ],
)
def test_a_name_of_nothing_is_one_mistake_not_one_a_test(inner: pytest.Pytester, name: str, says: str) -> None:
    inner.makepyfile(USES_BOTH)
    result = inner.runpytest("--vfio-device", name)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert [line for line in result.outlines if line.startswith(("E ", "ERROR "))] == []
    assert len([line for line in result.errlines if line.startswith("ERROR")]) == 1
    pytest.LineMatcher([" ".join(result.errlines)]).fnmatch_lines([says])


def test_a_model_can_be_served_by_another_process(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
        import pytest

        @pytest.mark.vfio(model="minimal", mount=("mock", "vfio-user"))
        def test_it(ims_driver, vfio_name):
            assert ims_driver.device.mount == vfio_name.partition(":")[0]
            with ims_driver.ims.allocate() as irq:
                ims_driver.fire(irq.slot)
                assert irq.wait(timeout=5)
    """
    )
    result = inner.runpytest("-v")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*test_it?vfio-user:minimal? PASSED*"])


def test_a_model_may_have_options(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
        import pytest

        @pytest.mark.vfio(model=["minimal", "minimal,flr=no"])
        def test_it(vfio_device):
            assert vfio_device.can_reset == (vfio_device.name == "mock:minimal")
    """
    )
    inner.runpytest().assert_outcomes(passed=2)
    inner.runpytest("--vfio-device", "mock:minimal").assert_outcomes(passed=1)


def test_a_test_of_a_models_option_skips_devices(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
        import pytest

        @pytest.mark.vfio(model="minimal,flr=no")
        def test_it(vfio_device):
            raise AssertionError
    """
    )
    result = inner.runpytest("--vfio-device", "mock:minimal", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*mock:minimal is as it is, this test is for mock:minimal,flr=no"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("'minimal'", "its arguments must be named, not 'minimal'"),
        ("device='minimal'", "it has no argument 'device'"),
        ("model=5", "model must be text, or several, not 5"),
        ("match=0x8086", "match must be text, or several, not 32902"),
        ("match='8086'", "ids must be [[]vendor]:[[]device]*, not '8086'"),
        ("mount='qemu'", "mount must be one of mock, vfio-user, not 'qemu'"),
        ("model='minimul'", "model must be one of *, not 'minimul'; did you mean 'minimal'?"),
    ],
)
def test_a_wrong_marker_ends_the_run_with_the_right_signature(
    inner: pytest.Pytester, arguments: str, says: str
) -> None:
    inner.makepyfile(
        f"""
        import pytest

        @pytest.mark.vfio({arguments})
        def test_it(ims_driver):
            pass
    """
    )
    result = inner.runpytest()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: *test_it*{says}*"])
    if "minimul" not in arguments:
        result.stderr.fnmatch_lines(['*vfio(model="minimal", match="8086:0b25", mount="mock")*'])


def test_both_fixtures_in_one_test_are_a_mistake(inner: pytest.Pytester) -> None:
    inner.makepyfile("def test_it(vfio_device, ims_driver): pass")
    result = inner.runpytest()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*would open the device twice*ims_driver, and its .device"])


def test_junit_says_what_the_test_ran_on(inner: pytest.Pytester) -> None:
    inner.makepyfile(USES_BOTH)
    inner.runpytest("--junitxml=run.xml").assert_outcomes(passed=2)
    for case in ElementTree.parse(inner.path / "run.xml").iter("testcase"):
        properties = {found.get("name"): found.get("value") for found in case.iter("property")}
        assert properties["vfio_device"] == "mock:minimal"
        assert properties["vfio_mount"] == "mock"
        assert {"kernel", "vfio_ims", "python"} <= properties.keys()


def test_a_failure_shows_the_device(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
        def test_it(ims_driver):
            irq = ims_driver.ims.allocate(masked=True)
            ims_driver.fire(irq.slot)
            assert irq.wait(timeout=0)
    """
    )
    result = inner.runpytest()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*- device mock:minimal -*", "IMS usable: 16 slots*", "*slot 0 <- vector 0*pending*"])


def test_silent_waits_for_what_could_still_come(inner: pytest.Pytester) -> None:
    inner.makepyfile(
        """
        import time
        from vfio_ims.testing import silent

        def test_it(ims_driver):
            device = ims_driver.device
            with ims_driver.ims.allocate() as irq, ims_driver.ims.allocate_polled() as polled:
                began = time.monotonic()
                assert silent(irq) and silent(polled)
                assert time.monotonic() - began >= 2 * device.port.settle
                ims_driver.fire(irq.slot)
                ims_driver.fire(polled.slot)
                assert not silent(irq) and not silent(polled)
            with device.interrupts.open_msix(2) as vector:
                assert silent(vector, settle=0)
                vector.trigger()
                assert not silent(vector)
    """
    )
    inner.runpytest().assert_outcomes(passed=1)


# --- in projects that have nothing to do with devices -----------------------------------------------------------------


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=120, check=False)


def test_it_stays_out_of_the_way(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(
        "import sys\n"
        "def pytest_sessionfinish():\n"
        "    heavy = [name for name in sys.modules if name.startswith(('_cffi', 'cffi', 'pyudev', 'vfio_ims.native',"
        " 'vfio_ims.device', 'vfio_ims.drivers', 'click', 'rich'))]\n"
        "    assert not heavy, heavy\n"
    )
    (tmp_path / "test_other.py").write_text("def test_other(): pass\n")
    done = run(tmp_path, "-p", "no:logging", "--strict-markers")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "vfio-ims:" not in done.stdout


def test_help_explains_the_options(tmp_path: Path) -> None:
    done = run(tmp_path, "--help")
    assert done.returncode == 0
    for word in ("--vfio-device", "--vfio-require", "--vfio-driver", "VFIO_IMS_DEVICE"):
        assert word in done.stdout
    done = run(tmp_path, "--markers")
    assert "@pytest.mark.vfio(*, model=..., match=..., mount=...): the devices that a test is for" in done.stdout
    assert "@pytest.mark.vfio_feature(*features, slots=N, donors=N): what a test needs, of ims, mask" in done.stdout


def other_family(directory: Path) -> Path:
    """A private driver folder: the example device under other ids and another name."""
    folder = directory / "other"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from vfio_ims.families import Family\n"
        "family = Family('other', ids=['abcd:0001'], driver='both:Other', models={'other': 'both:OtherModel'})\n"
    )
    (folder / "both.py").write_text(
        "from vfio_ims.drivers.minimal.driver import Minimal\n"
        "from vfio_ims.drivers.minimal.model import MinimalModel\n"
        "class Other(Minimal): pass\n"
        "class OtherModel(MinimalModel):\n"
        "    id = 'abcd:0001'\n"
    )
    return folder

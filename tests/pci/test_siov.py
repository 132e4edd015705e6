# SPDX-License-Identifier: Apache-2.0
"""The hint at IMS: yes and no only on evidence, and else how to find out."""

import pytest

from tests.pci import dumps
from tests.pci.dumps import SPR_DSA, spr_dsa_with
from vfio_ims.pci import ConfigSource, ConfigSpace, decode, ims_hint, pasid_hint
from vfio_ims.ports.values import Evidence

AS_VFIO_SHOWS_IT = spr_dsa_with(x220="0f000124")  # the PASID capability skipped
ROOT = "all 4096 bytes of config space: read the sysfs config file as root"


@pytest.mark.parametrize(
    ("data", "source", "answer", "text"),
    [
        (SPR_DSA, ConfigSource.SYSFS, True, "Intel SIOV DVSEC at 0x200 (sysfs): IMS bit set"),
        (AS_VFIO_SHOWS_IT, ConfigSource.VFIO, True, "Intel SIOV DVSEC at 0x200 (VFIO): IMS bit set"),
        (dumps.SPR_DSA_IMS_CLEAR, ConfigSource.VFIO, False, "IMS bit clear"),
        (dumps.SPR_DSA_NO_DVSEC, ConfigSource.SYSFS, False, "there is no DVSEC that could have one (read from sysfs)"),
        (
            dumps.SPR_DSA_NO_DVSEC,
            ConfigSource.VFIO,
            None,
            "VFIO lists no DVSEC, and not every kernel lets them through",
        ),
        (SPR_DSA[:64], ConfigSource.SYSFS_UNPRIVILEGED, None, "only 64 bytes of config space could be read"),
        (SPR_DSA[:256], ConfigSource.SYSFS, None, "only 256 bytes of config space could be read"),
        (spr_dsa_with(x204="86804001"), ConfigSource.SYSFS, None, "has 20 bytes and ends before its IMS bit"),
        (spr_dsa_with(x170="02000110"), ConfigSource.SYSFS, None, "the capability list is damaged"),
        (b"\xff" * 4096, ConfigSource.VFIO, None, "the function does not answer"),
        (bytes(256), ConfigSource.SYSFS, False, "there is no DVSEC that could have one (read from sysfs)"),
    ],
)
def test_the_hint_and_its_evidence(data: bytes, source: ConfigSource, answer: bool | None, text: str) -> None:
    hint = ims_hint(decode(ConfigSpace(data, source)))
    assert hint.answer is answer
    assert text in hint.text
    assert bool(hint.to_find_out) is (answer is None)


def test_another_vendors_dvsec_is_counted_not_believed() -> None:
    only = spr_dsa_with(x170="02000130", x300="23000100 de108001 0500 0000 00000000 00000000 01000000")
    assert (
        ims_hint(decode(ConfigSpace(only, ConfigSource.SYSFS))).text
        == "none of its 1 DVSECs is Intel's for SIOV (read from sysfs)"
    )


def test_of_several_the_one_that_says_ims_counts() -> None:
    two = spr_dsa_with(x170="02000130", x300="23000120 86808001 0500 0000 00000000 00000000 00000000", x214="01000000")
    hint = ims_hint(decode(ConfigSpace(two, ConfigSource.SYSFS)))
    assert (hint.answer, hint.text) == (True, "Intel SIOV DVSEC at 0x200 (sysfs): IMS bit set")


def test_pasid_is_unknown_where_vfio_hides_it() -> None:
    def hint(data: bytes, source: ConfigSource) -> Evidence:
        return pasid_hint(decode(ConfigSpace(data, source)))

    assert hint(SPR_DSA, ConfigSource.SYSFS).answer is True
    assert "20 bits, not enabled" in hint(SPR_DSA, ConfigSource.SYSFS).text
    assert hint(AS_VFIO_SHOWS_IT, ConfigSource.VFIO) == Evidence(None, "VFIO hides the PASID capability", ROOT)
    assert hint(AS_VFIO_SHOWS_IT, ConfigSource.SYSFS).answer is False
    assert hint(SPR_DSA[:64], ConfigSource.SYSFS_UNPRIVILEGED).answer is None

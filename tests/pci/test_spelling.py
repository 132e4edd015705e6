# SPDX-License-Identifier: Apache-2.0
"""Registers as setpci users spell them."""

import pytest

from tests.pci import dumps
from vfio_ims.errors import UsageError
from vfio_ims.pci import ConfigSource, ConfigSpace, decode
from vfio_ims.pci.spelling import ConfigRegister

TWO_DVSECS = decode(ConfigSpace(dumps.SPR_DSA_SECOND_VENDOR, ConfigSource.SYSFS))


@pytest.mark.parametrize(
    ("text", "offset", "width"),
    [
        ("COMMAND", 0x04, 2),
        ("vendor_id", 0x00, 2),
        ("COMMAND.B", 0x04, 1),
        ("4.w", 0x04, 2),
        ("BASE_ADDRESS_2", 0x18, 4),
        ("CAP_MSIX+2.W", 0x82, 2),
        ("CAP11+4.L", 0x84, 4),
        ("CAP_EXP+8.w", 0x48, 2),
        ("ECAP_DVSEC+14.L@1", 0x214, 4),
        ("ECAP0023+14.L", 0x314, 4),
        ("ecap_pasid+6.w", 0x236, 2),
        ("100.L", 0x100, 4),
    ],
)
def test_a_register_is_found(text: str, offset: int, width: int) -> None:
    register = ConfigRegister.parse(text)
    assert (register.resolve(TWO_DVSECS), register.width) == (offset, width)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("COMAND", "did you mean 'COMMAND'"),
        ("CAP_MSIY+2.W", "did you mean 'MSI'"),
        ("4", "must end in its width"),
        ("CAP_MSIX+2", "must end in its width"),
        ("5.W", "offset must be a multiple of 2"),
        ("FFE.L", "offset must be a multiple of 4"),
        ("1000.B", "below 0x1000"),
        ("4.W@1", "@1 counts capabilities"),
        ("4.Q", "a register must be like"),
        ("", "a register must be like"),
    ],
)
def test_a_bad_spelling_says_why(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ConfigRegister.parse(text)


def test_a_capability_that_is_not_there_is_said_with_what_may_be_hidden() -> None:
    with pytest.raises(UsageError, match=r"has none: Single Root I/O Virtualization \(SR-IOV\) @0"):
        ConfigRegister.parse("ECAP_SRIOV+8.W").resolve(TWO_DVSECS)
    with pytest.raises(UsageError, match="has 2 of them: Designated Vendor-Specific @2"):
        ConfigRegister.parse("ECAP_DVSEC+8.W@2").resolve(TWO_DVSECS)
    hidden = decode(ConfigSpace(dumps.SPR_DSA, ConfigSource.VFIO))
    with pytest.raises(UsageError, match="more may be hidden: VFIO does not show all"):
        ConfigRegister.parse("ECAP_SRIOV+8.W").resolve(hidden)

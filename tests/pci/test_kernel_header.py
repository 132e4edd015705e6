# SPDX-License-Identifier: Apache-2.0
"""Our declarations against the kernel's own header, where it is installed: a typo in an offset cannot live."""

import re
from pathlib import Path

import pytest

from vfio_ims.pci import capabilities as caps

HEADER = Path("/usr/include/linux/pci_regs.h")

TABLE = Path(__file__).with_name("kernel_fields.txt").read_text().splitlines()


@pytest.fixture(scope="module")
def kernel() -> dict[str, int]:
    if not HEADER.exists():
        pytest.skip(f"{HEADER} is not here: install the kernel's headers for user space (linux-libc-dev)")
    defines = re.findall(r"^#define\s+(PCI_\w+)\s+(0x[0-9a-fA-F]+|\d+)\b", HEADER.read_text(), re.MULTILINE)
    return {name: int(value, 0) for name, value in defines}


@pytest.mark.parametrize("line", [line for line in TABLE if not line.startswith("#")])
def test_a_field_lies_where_the_kernel_has_it(line: str, kernel: dict[str, int]) -> None:
    ours, register, mask = line.split()
    kind, name = ours.split(".")
    item = next(one for one in getattr(caps, kind).declared if one.name == name)
    if register not in kernel or (mask != "-" and mask not in kernel):
        pytest.skip(f"this header has no {register} {mask}")
    start = kernel[register]
    bits = (item.last >> item.shift) << item.low + 8 * (item.offset - start)
    expected = kernel[mask] if mask != "-" else (1 << item.high + 1) - 1
    assert bits == expected


def test_ids_are_the_kernels(kernel: dict[str, int]) -> None:
    ours = {name.short: number for number, name in caps.EXTENDED_IDS.items()}
    standard = {name.short: number for number, name in caps.STANDARD_IDS.items()}
    for short in ("PM", "MSI", "MSIX", "EXP", "VNDR", "AF", "EA", "HT", "PCIX", "VPD", "SSVID", "SATA"):
        assert standard[short] == kernel[f"PCI_CAP_ID_{short}"]
    for short in ("VC", "DSN", "RCEC", "VNDR", "ACS", "ARI", "ATS", "SRIOV", "PRI", "REBAR", "TPH", "LTR", "PASID"):
        assert ours[short] == kernel[f"PCI_EXT_CAP_ID_{short}"]
    for short, theirs in (("AER", "ERR"), ("DVSEC", "DVSEC"), ("DOE", "DOE"), ("DLNK", "DLF"), ("L1PM", "L1SS")):
        assert ours[short] == kernel[f"PCI_EXT_CAP_ID_{theirs}"]


def test_error_bits_are_the_kernels(kernel: dict[str, int]) -> None:
    pairs = {
        "DLP": "DATA_LINK_PROTOCOL",
        "SURPDN": "SURPRISE_DOWN",
        "POISON_TLP": "POISONED_TLP",
        "FCP": "FLOW_CONTROL_PROTOCOL",
        "COMP_TIME": "COMPLETION_TIMEOUT",
        "COMP_ABORT": "COMPLETER_ABORT",
        "UNX_COMP": "UNEXPECTED_COMPLETION",
        "RX_OVER": "RECEIVER_OVERFLOW",
        "MALF_TLP": "MALFORMED_TLP",
        "ECRC": "ECRC",
        "UNSUP": "UNSUPPORTED_REQUEST",
        "ACSV": "ACS_VIOLATION",
        "INTN": "INTERNAL",
        "MCBTLP": "MC_BLOCKED_TLP",
        "ATOMEG": "ATOMIC_EGRESS_BLOCKED",
        "TLPPRE": "TLP_PREFIX_BLOCKED",
    }
    for theirs, ours in pairs.items():
        assert caps.Uncorrectable[ours] == kernel[f"PCI_ERR_UNC_{theirs}"]
    for theirs, ours in (("RCVR", "RECEIVER"), ("REP_TIMER", "REPLAY_TIMEOUT"), ("ADV_NFAT", "ADVISORY_NONFATAL")):
        assert caps.Correctable[ours] == kernel[f"PCI_ERR_COR_{theirs}"]

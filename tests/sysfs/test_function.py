# SPDX-License-Identifier: Apache-2.0
"""What the kernel's view of a function says, and that it says None, not boom, where it says nothing."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.pci.dumps import SPR_DSA
from tests.sysfs.tree import Tree
from vfio_ims.messages import Format, Message
from vfio_ims.pci import BarKind, BaseAddress, ConfigSource, PciAddress, ims_hint
from vfio_ims.sysfs import Function, IommuGroup, Irq, PcieLink, interrupt_remapping, message_platform

BDF = PciAddress.parse("0000:6a:01.0")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def dsa(tree: Tree, **more: object) -> Function:
    tree.function(str(BDF), config=SPR_DSA, bars={0: 0x10000, 2: 0x20000}, **more)  # type: ignore[arg-type]
    return Function(BDF, tree.root)


def test_ids_class_and_placement(tree: Tree) -> None:
    function = dsa(tree, revision=2, numa=1, subsystem="8086:1234")
    assert (function.vendor, function.device, function.class_code, function.revision) == (0x8086, 0x0B25, 0x088000, 2)
    assert (function.subsystem_vendor, function.subsystem_device) == (0x8086, 0x1234)
    assert function.id == "8086:0b25"
    assert function.numa_node == 1
    assert function.exists
    assert str(function) == "0000:6a:01.0"


def test_driver_and_override(tree: Tree) -> None:
    assert (dsa(tree).driver, dsa(tree).driver_override) == (None, None)
    bound = dsa(tree, driver="vfio-pci", override="vfio-pci")
    assert (bound.driver, bound.driver_override) == ("vfio-pci", "vfio-pci")


def test_the_group_and_who_else_is_in_it(tree: Tree) -> None:
    function = dsa(tree, group=23, driver="vfio-pci")
    tree.function("0000:6a:02.0", "8086:0cfe", group=23, driver="idxd")
    tree.link("kernel/iommu_groups/23/devices/platform-thing", "devices")
    tree.file(
        "kernel/iommu_groups/23/reserved_regions", "0x00fee00000 0x00feefffff msi\nnonsense\n0x0 0xfff direct-relax"
    )
    group = function.iommu_group
    assert group is not None
    assert group.number == 23
    assert [(str(one), one.driver) for one in group.members] == [("0000:6a:01.0", "vfio-pci"), ("0000:6a:02.0", "idxd")]
    assert group.others == ("platform-thing",)
    assert group.domain_type == "DMA-FQ"
    assert not group.without_iommu
    assert [(one.start, one.last, one.kind) for one in group.reserved] == [
        (0xFEE00000, 0xFEEFFFFF, "msi"),
        (0, 0xFFF, "direct-relax"),
    ]


def test_a_group_that_vfio_made_without_an_iommu_is_reported(tree: Tree) -> None:
    tree.file("kernel/iommu_groups/0/name", "vfio-noiommu")
    assert IommuGroup(0, tree.root).without_iommu


def test_the_node_of_a_function_bound_to_vfio(tree: Tree) -> None:
    assert dsa(tree).vfio_cdev is None
    assert dsa(tree, vfio=3).vfio_cdev == "vfio3"


def test_bars_have_addresses_from_config_and_sizes_from_the_resource_file(tree: Tree) -> None:
    function = dsa(tree)
    assert function.bar_sizes == {0: 0x10000, 1: 0, 2: 0x20000, 3: 0, 4: 0, 5: 0}
    assert function.bars == (
        BaseAddress(0, BarKind.MEM64, True, 0x20CC_FF00_0000, 0x10000),
        BaseAddress(2, BarKind.MEM64, True, 0x20CC_FF10_0000, 0x20000),
    )
    first = function.resources[0]
    assert (first.index, first.size, first.is_memory, first.is_io, first.wide, first.prefetchable) == (
        0,
        0x10000,
        True,
        False,
        True,
        True,
    )


def test_a_privileged_reader_gets_all_of_config_space(tree: Tree) -> None:
    function = dsa(tree)
    assert function.config is not None
    assert (len(function.config), function.config.source) == (4096, ConfigSource.SYSFS)
    assert function.config_size == 4096
    assert function.capabilities is not None
    assert ims_hint(function.capabilities).answer is True


def test_an_unprivileged_reader_gets_64_bytes_and_no_verdict(tree: Tree) -> None:
    tree.function(str(BDF), config=SPR_DSA[:64])
    function = Function(BDF, tree.root)
    assert function.config is not None
    assert function.config.source is ConfigSource.SYSFS_UNPRIVILEGED
    assert function.capabilities is not None
    hint = ims_hint(function.capabilities)
    assert hint.answer is None
    assert "only 64 bytes" in hint.text
    assert "as root" in hint.to_find_out


def test_message_interrupts_with_their_chips(tree: Tree) -> None:
    function = dsa(tree, irqs={130: "IR-PCI-MSIX-0000:6a:01.0", 99: "IR-PCI-MSIX-0000:6a:01.0"})
    assert [one.number for one in function.msi_irqs] == [99, 130]
    chip, action = "IR-PCI-MSIX-0000:6a:01.0", "vfio-msix[0](0000:6a:01.0)"
    assert function.msi_irqs[1] == Irq(130, "msix", chip, action, "0")


@pytest.mark.parametrize(
    ("chip", "answer"),
    [
        ("IR-PCI-MSIX-0000:6a:01.0", True),
        ("IR-PCI-MSI", True),
        ("ITS-PCI-MSIX-0000:6a:01.0", True),
        ("PCI-MSIX-0000:6a:01.0", False),
        ("PCI-MSI", False),
        ("Strange-Chip", None),
    ],
)
def test_remapping_is_shown_by_the_chips_name(tree: Tree, chip: str, answer: bool | None) -> None:
    evidence = interrupt_remapping(dsa(tree, irqs={130: chip}))
    assert evidence.answer is answer
    assert chip in evidence.text


@pytest.mark.parametrize(
    ("chip", "iommu", "form", "moves"),
    [
        ("IR-PCI-MSIX-0000:6a:01.0", "dmar2", Format.VTD, False),
        ("IR-PCI-MSIX-0000:6a:01.0", "ivhd0", Format.AMD, False),
        ("IR-PCI-MSIX-0000:6a:01.0", None, None, False),
        ("PCI-MSIX-0000:6a:01.0", "dmar2", Format.COMPATIBILITY, True),
        ("PCI-MSIX-0000:6a:01.0", "riscv-iommu-pci0", None, None),
        ("ITS-PCI-MSIX-0000:6a:01.0", "smmu3.0x0000000009050000", Format.ITS, False),
        ("GICv2m-PCI-MSIX-0000:6a:01.0", None, Format.GICV2M, False),
        ("ITS-v5-PCI-MSIX-0000:6a:01.0", "smmu3.0x0000000009050000", None, None),
        ("Strange-Chip", "dmar2", None, None),
    ],
)
def test_what_a_message_is_is_shown_by_chip_and_iommu(
    tree: Tree, chip: str, iommu: str | None, form: Format | None, moves: bool | None
) -> None:
    platform = message_platform(dsa(tree, irqs={130: chip}, iommu=iommu))
    assert (platform.format, platform.moves) == (form, moves)


def test_reserved_regions_are_never_memory(tree: Tree) -> None:
    chip = "ITS-PCI-MSIX-0000:6a:01.0"
    regions = "0x8000000 0x80fffff msi\n0x40000000 0x4fffffff direct\n"
    function = dsa(tree, irqs={130: chip}, iommu="smmu3.0x0000000009050000", group=7)
    tree.file("kernel/iommu_groups/7/reserved_regions", regions)
    platform = message_platform(function)
    assert platform.of_entry(Message(0x800_0040, 3)).meaning == "GICv3 ITS event 3"
    assert platform.of_entry(Message(0x4000_0000, 3)).meaning == "memory"
    assert "never memory: 0x8000000 to 0x80fffff" in str(platform)


def test_remapping_is_shown_by_a_neighbour_behind_the_same_iommu(tree: Tree) -> None:
    tree.function("0000:00:01.0", iommu="dmar0", irqs={40: "PCI-MSI"})
    tree.function("0000:6a:02.0", iommu="dmar2", irqs={41: "IR-PCI-MSIX-0000:6a:02.0"})
    evidence = interrupt_remapping(dsa(tree, iommu="dmar2"))
    assert evidence.answer is True
    assert "0000:6a:02.0" in evidence.text
    assert "dmar2" in evidence.text


def test_remapping_is_unknown_while_no_interrupt_is_allocated(tree: Tree) -> None:
    tree.function("0000:00:01.0", iommu="dmar0", irqs={40: "PCI-MSI"})
    evidence = interrupt_remapping(dsa(tree, iommu="dmar2"))
    assert evidence.answer is None
    assert "eventfd" in evidence.to_find_out


@pytest.mark.parametrize(("text", "methods"), [("flr bus", ("flr", "bus")), ("", ()), (None, None)])
def test_reset_methods(tree: Tree, text: str | None, methods: tuple[str, ...] | None) -> None:
    function = dsa(tree, reset=text)
    assert function.reset_methods == methods
    assert function.resettable is (text is not None)


def test_power_link_and_virtual_functions(tree: Tree) -> None:
    function = dsa(tree, power="D3hot")
    assert function.power_state == "D3hot"
    assert dsa(tree, power="unknown").power_state is None
    assert function.link is None
    home = function.path
    for name, text in (
        ("current_link_speed", "16.0 GT/s PCIe"),
        ("current_link_width", "8"),
        ("max_link_speed", "32.0 GT/s PCIe"),
        ("max_link_width", "8"),
    ):
        (home / name).write_text(f"{text}\n")
    link = function.fresh().link
    assert link == PcieLink(16.0, 8, 32.0, 8)
    assert link.reduced
    assert str(link) == "16 GT/s x8 of 32 GT/s x8"
    (home / "physfn").symlink_to("../0000:6a:00.0")
    assert function.physical_function == PciAddress.parse("6a:00.0")


def test_a_link_that_is_not_there_is_unknown(tree: Tree) -> None:
    function = dsa(tree)
    (function.path / "current_link_speed").write_text("Unknown\n")
    (function.path / "current_link_width").write_text("0\n")
    (function.path / "max_link_speed").write_text("Unknown speed\n")
    (function.path / "max_link_width").write_text("255\n")
    assert function.link is None


def test_a_snapshot_keeps_what_it_read_and_a_fresh_one_reads_again(tree: Tree) -> None:
    function = dsa(tree, driver="idxd")
    assert function.driver == "idxd"
    (function.path / "driver").unlink()
    assert function.driver == "idxd"
    assert function.fresh().driver is None
    assert function == function.fresh()


PROPERTIES = [
    name
    for name in dir(Function)
    if not name.startswith("_") and name not in ("address", "root", "fresh", "path", "exists", "resettable")
]


def read_everything(function: Function) -> list[object]:
    return [getattr(function, name) for name in PROPERTIES]


def test_a_function_that_is_gone_has_nothing(tree: Tree) -> None:
    function = Function(BDF, tree.root)
    assert not function.exists
    assert all(value in (None, (), {}) for value in read_everything(function))
    assert interrupt_remapping(function).answer is None


def test_files_that_may_not_be_read_are_none(tree: Tree) -> None:
    function = dsa(tree, group=1)
    # Folders in place of files: unreadable for root too, as mode 000 would not be.
    for name in ("vendor", "numa_node", "resource", "config", "power_state", "reset_method", "irq"):
        (function.path / name).unlink()
        (function.path / name).mkdir()
    assert (function.vendor, function.numa_node, function.config, function.power_state) == (None, None, None, None)
    assert (function.resources, function.bar_sizes, function.bars, function.reset_methods) == ((), None, (), None)
    assert function.device == 0x0B25


@given(st.dictionaries(st.sampled_from(["vendor", "class", "numa_node", "resource", "config", "irq"]), st.binary()))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_the_files_hold_is_read_somehow(tmp_path: Path, contents: dict[str, bytes]) -> None:
    tree = Tree(tmp_path)
    function = dsa(tree)
    for name, data in contents.items():
        (function.path / name).write_bytes(data)
    read_everything(function)


def test_no_descriptor_is_left_open(tree: Tree) -> None:
    function = dsa(tree, group=1, irqs={5: "PCI-MSI"})
    before = len(os.listdir("/proc/self/fd"))
    read_everything(function)
    assert len(os.listdir("/proc/self/fd")) == before

# SPDX-License-Identifier: Apache-2.0
"""Finding functions: all of them, by selector, by address, by the kernel's names."""

from pathlib import Path

import pytest

from tests.sysfs.tree import Tree
from vfio_ims.pci import PciAddress, Selector
from vfio_ims.sysfs import Function, address_of, find, functions, select


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path)
    tree.function("0000:6a:02.0", "8086:0cfe", parent="pci0000:6a")
    tree.function("0000:6a:01.0", "8086:0b25", parent="pci0000:6a")
    tree.function("0000:00:01.0", "8086:1234", class_code=0x060400)
    tree.function("0000:01:00.0", "15b3:1021", class_code=0x020000, parent="pci0000:00/0000:00:01.0")
    tree.function("10000:e1:00.0", "8086:0a54", class_code=0x010802, parent="pci10000:e0", vfio=3)
    tree.file("bus/pci/devices/not-a-function", "")
    tree.named("0000:6a:01.0", "dsa0", kind="bus/dsa")
    tree.named("0000:6a:01.0", "wq0.0", kind="bus/dsa", below="dsa0")
    tree.named("0000:01:00.0", "eth1", kind="class/net")
    tree.named("0000:01:00.0", "mlx5_0", kind="class/infiniband")
    (tree.root / "class/tty/ttyS0").mkdir(parents=True)
    return tree


def test_all_functions_in_the_order_of_the_bus(tree: Tree) -> None:
    assert [str(one) for one in functions(tree.root)] == [
        "0000:00:01.0",
        "0000:01:00.0",
        "0000:6a:01.0",
        "0000:6a:02.0",
        "10000:e1:00.0",
    ]


def test_a_host_without_pci_has_none(tmp_path: Path) -> None:
    assert functions(tmp_path) == ()
    assert find("dsa0", tmp_path) is None


@pytest.mark.parametrize(
    ("slot", "ids", "chosen"),
    [
        ("6a:", "", ["0000:6a:01.0", "0000:6a:02.0"]),
        ("", "8086::0880", ["0000:6a:01.0", "0000:6a:02.0"]),
        ("", "::02xx", ["0000:01:00.0"]),
        ("", "::0108:02", ["10000:e1:00.0"]),
        ("*:01.0", "8086:0b25", ["0000:6a:01.0"]),
        ("6a:0[2-9].*", "", ["0000:6a:02.0"]),
    ],
)
def test_selectors_pick_as_lspci_does(tree: Tree, slot: str, ids: str, chosen: list[str]) -> None:
    assert [str(one) for one in select(Selector.parse(slot, ids), tree.root)] == chosen


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("dsa0", "0000:6a:01.0"),
        ("wq0.0", "0000:6a:01.0"),
        ("eth1", "0000:01:00.0"),
        ("mlx5_0", "0000:01:00.0"),
        ("vfio3", "10000:e1:00.0"),
        ("6A:1.0", "0000:6a:01.0"),
        ("0000:6a:02.0", "0000:6a:02.0"),
    ],
)
def test_a_function_is_found_by_the_kernels_names(tree: Tree, name: str, address: str) -> None:
    assert find(name, tree.root) == Function(PciAddress.parse(address), tree.root)


@pytest.mark.parametrize("name", ["", ".", "..", "ttyS0", "dsa7", "../dsa0", "0000:ff:00.0", "pci"])
def test_a_name_that_is_no_function_is_none(tree: Tree, name: str) -> None:
    assert find(name, tree.root) is None
    assert address_of(name, tree.root) is None


def test_a_function_knows_its_kernel_names(tree: Tree) -> None:
    by_address = {str(one): one.names for one in functions(tree.root)}
    assert by_address["0000:6a:01.0"] == ("dsa0", "wq0.0")
    assert by_address["0000:01:00.0"] == ("eth1", "mlx5_0")
    assert by_address["10000:e1:00.0"] == ("vfio3",)
    assert by_address["0000:00:01.0"] == ()  # what is behind a bridge is not the bridge's

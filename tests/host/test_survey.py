# SPDX-License-Identifier: Apache-2.0
"""Every function that may have IMS is found, with what it still needs and who stands in the way."""

import time

import pytest

from tests.host.box import DSA, IAA, NIC, Box, bare_reads
from tests.pci.dumps import SPR_DSA
from vfio_ims.errors import UsageError
from vfio_ims.host import Candidate, Selection, State, candidates, unseen


def one(box: Box, address: str = DSA) -> Candidate:
    return next(c for c in candidates(box.machine, everything=True) if str(c.function.address) == address)


def test_found_by_id_and_by_dvsec_and_others_left_out(box: Box) -> None:
    box.dsa()
    unknown_vendor = bytes.fromhex("dec0adde") + SPR_DSA[4:]
    box.tree.function("0000:90:00.0", "c0de:dead", config=unknown_vendor)
    box.tree.function(NIC, "15b3:1017")
    found = {str(c.function.address): c for c in candidates(box.machine)}
    assert list(found) == [DSA, "0000:90:00.0"]
    assert found[DSA].family is not None
    assert found[DSA].family.name == "intel_idxd"
    assert found["0000:90:00.0"].family is None
    assert found["0000:90:00.0"].hint.answer is True


def test_needs_bind(box: Box) -> None:
    box.dsa()
    assert (one(box).state, one(box).why) == (State.NEEDS_BIND, "bound to idxd")
    assert one(box).next == f"sudo vfio-ims bind {DSA}"


def test_usable(box: Box) -> None:
    box.dsa(driver="vfio-pci", group=7)
    found = one(box)
    assert (found.state, found.node) == (State.USABLE, "/dev/vfio/devices/vfio1")


def test_needs_permission_names_the_node_and_its_group(box: Box) -> None:
    box.dsa(driver="vfio-pci", group=7)
    for path in ("vfio/7", "vfio/devices/vfio1"):
        box.node(path, accessible=False)
    assert (one(box).state, one(box).why) == (
        State.NEEDS_PERMISSION,
        "/dev/vfio/devices/vfio1 is root:vfio, mode 0660",
    )


def test_bound_but_no_node_as_in_a_container(box: Box) -> None:
    box.dsa(driver="vfio-pci")
    box.nodes = {}
    assert one(box).state == State.NEEDS_PERMISSION
    assert "no node for it" in one(box).why


def test_a_group_that_is_not_viable_names_the_sibling(box: Box) -> None:
    box.dsa(driver="vfio-pci", group=7)
    box.dsa(IAA, group=7)
    box.tree.function("0000:6a:00.0", "8086:1234", driver="pcieport", group=7)
    assert one(box).state == State.GROUP_NOT_VIABLE
    assert f"{IAA} (driver idxd)" in one(box).why
    assert "pcieport" not in one(box).why  # bridges may stay
    assert one(box).next.endswith("--group")


def test_a_sibling_without_driver_or_on_vfio_blocks_nothing(box: Box) -> None:
    box.dsa(driver="vfio-pci", group=7)
    box.dsa(IAA, driver=None, group=7)
    assert one(box).state == State.USABLE


@pytest.mark.parametrize("ids", ["8086:0b25", "8086:0cfe"])
def test_denied_by_vfio_pci_itself(box: Box, ids: str) -> None:
    box.dsa(ids=ids)
    assert one(box).state == State.NEEDS_BIND  # vfio-pci is not loaded yet: it may be with the right option
    box.vfio(denylist=True)
    assert one(box).state == State.DENIED
    assert "disable_denylist" in one(box).why
    box.vfio(denylist=False)
    assert one(box).state == State.NEEDS_BIND


def test_no_iommu(box: Box) -> None:
    box.tree.function(DSA, "8086:11fb", driver="idxd")
    assert one(box).state == State.NO_IOMMU


def test_open_by_whom(box: Box) -> None:
    box.dsa(driver="vfio-pci", group=7)
    box.process(4711, "qemu-system-x86", "/dev/null", "/dev/vfio/7")
    assert one(box).state == State.IN_USE
    assert one(box).used_by == ("process 4711 (qemu-system-x86)",)


def test_lost(box: Box) -> None:
    box.dsa(driver="vfio-pci", config=b"\xff" * 4096)
    assert one(box).state == State.LOST


def test_in_use_by_the_kernel(box: Box) -> None:
    box.dsa()
    box.tree.file(f"bus/pci/devices/{DSA}/dsa0/wq0.0/clients", "2")
    assert one(box).state == State.IN_USE
    assert one(box).used_by == ("queue wq0.0 of dsa0 has 2 clients",)


def test_network_interfaces_disks_and_displays(box: Box) -> None:
    for number, address in enumerate(("0000:17:00.0", "0000:18:00.0", "0000:19:00.0", "0000:1a:00.0")):
        box.tree.function(address, "8086:1521", driver="igb", group=30 + number)
    box.interface("0000:17:00.0", "eth0")
    box.interface("0000:18:00.0", "eth1", up=False, addressed=False)
    box.disk("0000:19:00.0", "nvme0n1")
    box.file("proc/self/mountinfo", "29 1 259:0 / / rw - ext4 /dev/root rw")
    box.disk("0000:1a:00.0", "nvme1n1", "259:5")
    box.tree.function("0000:02:00.0", "1a03:2000", class_code=0x030000, driver="ast", group=40)
    box.tree.file("bus/pci/devices/0000:02:00.0/boot_vga", "1")
    uses = {str(c.function.address): c.used_by for c in candidates(box.machine, everything=True)}
    assert uses["0000:17:00.0"] == ("network interface eth0 is up and has an address",)
    assert uses["0000:18:00.0"] == ()
    assert uses["0000:19:00.0"] == ("disk nvme0n1 is mounted on /",)
    assert uses["0000:1a:00.0"] == ()
    assert uses["0000:02:00.0"] == ("it is the display that the machine started with",)


def test_a_partition_and_a_multipath_disk_count(box: Box) -> None:
    box.tree.function(NIC, "144d:a80a", driver="nvme", group=3)
    box.disk(NIC, "nvme0c0n1")
    box.tree.file("devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1/dev", "259:1")
    box.tree.file("devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1/nvme0n1p2/partition", "2")
    box.tree.file("devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1/nvme0n1p2/dev", "259:3")
    box.tree.link("class/block/nvme0n1", "devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1")
    box.file("proc/swaps", "Filename Type Size Used Priority\n/dev/nvme0n1p2 partition 1 0 -2")
    assert one(box, NIC).used_by == ("disk nvme0n1p2 is swap",)


def test_without_privilege_it_says_what_it_cannot_know(box: Box) -> None:
    box.user(1000)
    box.dsa(driver="vfio-pci", config=SPR_DSA[:64])
    found = candidates(box.machine)
    assert found[0].hint.answer is None
    (about_config, about_processes) = unseen(found, box.machine)
    assert "64 bytes of config space" in about_config
    assert "sudo vfio-ims list" in about_config
    assert "another user's program" in about_processes
    box.user(0)
    assert unseen(found, box.machine) == []


@pytest.mark.parametrize(
    ("names", "slot", "ids", "expected"),
    [
        ((), "", "8086:", [DSA, IAA]),
        ((), "6a:", "", [DSA, IAA]),
        ((), "6a:2", ":0cfe", [IAA]),
        (("6a:0?.0",), "", "", [DSA, IAA]),
        (("*:17:*",), "", "", [NIC]),
        (("dsa0",), "", "", [DSA]),
        (("wq0.0",), "", "", [DSA]),
        (("17:00.0", "6A:01.0"), "", "", [NIC, DSA]),
    ],
)
def test_selection(box: Box, names: tuple[str, ...], slot: str, ids: str, expected: list[str]) -> None:
    box.dsa()
    box.dsa(IAA, "8086:0cfe")
    box.tree.function(NIC, "15b3:1017")
    box.tree.named(DSA, "dsa0", kind="bus/dsa")
    box.tree.named(DSA, "wq0.0", kind="bus/dsa", below="dsa0")
    machine = box.machine
    found = candidates(machine, Selection.parse(machine, names, slot, ids))
    assert [str(c.function.address) for c in found] == expected


def test_an_unknown_kernel_name_is_an_error_of_its_own(box: Box) -> None:
    with pytest.raises(UsageError, match=r"select: 'eth7' is neither a PCI address .*, nor a kernel device here"):
        Selection.parse(box.machine, ["eth7"])


def test_names_come_from_the_pci_ids_file(box: Box) -> None:
    box.dsa()
    box.file(
        "usr/share/misc/pci.ids",
        "# comment\n8086  Intel Corporation\n\t11fb  Data Streaming Accelerator\n\t\t8086 0000  Sub\nC 01  Other",
    )
    assert one(box).title == "Intel Corporation Data Streaming Accelerator"


def test_the_file_is_read_to_its_end(box: Box) -> None:
    box.dsa()
    before = "".join(f"{number:04x}  A vendor of many\n" for number in range(0x1000, 0x3000))
    assert len(before) > 1 << 16
    box.file("usr/share/misc/pci.ids", f"{before}8086  Intel Corporation\n\t11fb  Data Streaming Accelerator\n")
    assert one(box).title == "Intel Corporation Data Streaming Accelerator"


def test_two_thousand_functions_take_a_few_reads_each(two_thousand: Box) -> None:
    found, ratios = [], []
    while len(ratios) < 3 and not any(ratio < 6 for ratio in ratios):  # a busy machine disturbs one of the two sides
        bare = bare_reads(two_thousand)
        began = time.process_time()
        found = candidates(two_thousand.machine, everything=True)
        ratios.append((time.process_time() - began) / bare)
    assert len(found) == 2000
    assert sum(one.hint.answer is True for one in found) == 501
    assert min(ratios) < 6, f"times the bare reads: {ratios}"

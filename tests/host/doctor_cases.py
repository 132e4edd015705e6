# SPDX-License-Identifier: Apache-2.0
"""What breaks a healthy machine, one thing at a time, and what the doctor has to say of it."""

from __future__ import annotations

from collections.abc import Callable

from tests.host.box import DSA, IAA, Box
from tests.pci.dumps import SPR_DSA
from vfio_ims.host.doctor import Status

OK, NOTE, WARN, FAIL, UNKNOWN = Status.OK, Status.NOTE, Status.WARN, Status.FAIL, Status.UNKNOWN


def tree(path: str, content: str = "") -> Callable[[Box], object]:
    return lambda box: box.tree.file(path, content)


def gone(*paths: str) -> Callable[[Box], object]:
    def remove(box: Box) -> None:
        for path in paths:
            (box.root / "gone").mkdir(exist_ok=True)
            (box.root / path).rename(box.root / "gone" / path.replace("/", "-"))

    return remove


def parameter(module: str, name: str, value: str) -> Callable[[Box], object]:
    return lambda box: box.parameter(module, name, value)


def dsa(**more: object) -> Callable[[Box], object]:
    return lambda box: box.dsa(**more)  # type: ignore[arg-type]


def node(path: str, **more: object) -> Callable[[Box], object]:
    return lambda box: box.node(path, **more)  # type: ignore[arg-type]


def unnode(*paths: str) -> Callable[[Box], object]:
    def remove(box: Box) -> None:
        assert box.nodes is not None
        for path in paths:
            del box.nodes[f"/dev/{path}"]

    return remove


def file(path: str, content: str = "") -> Callable[[Box], object]:
    return lambda box: box.file(path, content)


def several(*actions: Callable[[Box], object]) -> Callable[[Box], object]:
    def run(box: Box) -> None:
        for action in actions:
            action(box)

    return run


def sibling(box: Box) -> None:
    box.dsa(IAA, group=23)


def no_groups(box: Box) -> None:
    for path in ("sys/kernel/iommu_groups", "sys/class/iommu"):
        (box.root / path).rename(box.root / f"{path}-gone")


ARM64 = "processor\t: 0\nFeatures\t: fp asimd evtstrm aes{}\nCPU implementer\t: 0x41\nCPU architecture: 8\n"


def on_arm64(box: Box) -> None:
    box.file("proc/cpuinfo", ARM64.format(""))


def in_a_vm(box: Box) -> None:
    box.file("proc/cpuinfo", "vendor_id\t: GenuineIntel\nflags\t\t: fpu hypervisor movdir64b enqcmd")


CASES: list[tuple[str, Callable[[Box], object], Status, str, str]] = [
    # check, what breaks it, status, in its evidence or cause, in its advice
    (
        "version",
        file("proc/sys/kernel/osrelease", "4.15.0"),
        FAIL,
        "does not let a program see the MSI-X table",
        "4.16",
    ),
    ("version", file("proc/sys/kernel/osrelease", "6.1.0-18"), WARN, "before 6.5: all MSI-X vectors are", "6.15"),
    ("version", file("proc/sys/kernel/osrelease", "6.12.9"), NOTE, "before 6.15: no PASIDs", "6.15 or later"),
    ("version", gone("proc/sys/kernel/osrelease"), UNKNOWN, "cannot be read", "uname -r"),
    (
        "lockdown",
        tree("kernel/security/lockdown", "none [integrity] confidentiality"),
        WARN,
        "integrity",
        "Secure Boot",
    ),
    ("container", file("run/systemd/container", "docker"), NOTE, "docker", "--device /dev/vfio/vfio"),
    ("container", file(".dockerenv"), NOTE, "docker", "--ulimit memlock=-1"),
    ("container", file("proc/1/cgroup", "0::/kubepods/pod1"), NOTE, "kubepods", "bind on the host"),
    ("present", no_groups, FAIL, "iommu_groups is empty", "add intel_iommu=on to GRUB_CMDLINE_LINUX"),
    (
        "present",
        several(no_groups, file("proc/cmdline", "quiet intel_iommu=off")),
        FAIL,
        "command line has intel_iommu=off",
        "take intel_iommu=off off",
    ),
    (
        "present",
        several(no_groups, file("proc/cpuinfo", "vendor_id : AuthenticAMD")),
        FAIL,
        "AMD-Vi",
        "turn IOMMU on in the firmware",
    ),
    ("interrupt remapping", tree("kernel/irq/40/chip_name", "PCI-MSIX"), FAIL, "EPERM", "x2APIC"),
    (
        "interrupt remapping",
        several(tree("kernel/irq/40/chip_name", "PCI-MSIX"), file("proc/cmdline", "intremap=off")),
        FAIL,
        "command line has intremap=off",
        "take intremap=off off",
    ),
    (
        "interrupt remapping",
        several(
            tree("kernel/irq/40/chip_name", "PCI-MSIX"), parameter("vfio_iommu_type1", "allow_unsafe_interrupts", "Y")
        ),
        WARN,
        "could then forge any interrupt",
        "these options off",
    ),
    (
        "interrupt remapping",
        several(tree("kernel/irq/40/chip_name", "PCI-MSIX"), gone("sys/class/iommu"), tree("class/iommu/ivhd0/x", "")),
        FAIL,
        "the firmware's IVRS table lacks an IOAPIC",
        "ivrs_ioapic[ID]",
    ),
    (
        "scalable mode",
        several(gone("sys/class/iommu"), tree("class/iommu/ivhd0/x", "")),
        NOTE,
        "this machine has AMD-Vi",
        "",
    ),
    ("interrupt remapping", gone("sys/kernel/irq"), UNKNOWN, "no message interrupt", "dmesg | grep -i remap"),
    ("scalable mode", file("proc/cmdline", "intel_iommu=on"), NOTE, "PASIDs need it", "intel_iommu=on,sm_on"),
    ("scalable mode", gone("sys/class/iommu"), NOTE, "PASIDs are not available", ""),
    ("vfio-pci", gone("sys/bus/pci/drivers/vfio-pci"), FAIL, "vfio-pci is not loaded", "sudo modprobe vfio-pci"),
    ("type1", gone("sys/module/vfio_iommu_type1"), WARN, "iommu=type1", "sudo modprobe vfio_iommu_type1"),
    (
        "iommufd",
        gone("sys/module/iommufd", "sys/class/misc/iommu"),
        WARN,
        "no PASIDs",
        "CONFIG_IOMMUFD",
    ),
    (
        "device nodes",
        gone(f"sys/bus/pci/devices/{DSA}/vfio-dev"),
        WARN,
        "no node of its own",
        "CONFIG_VFIO_DEVICE_CDEV",
    ),
    ("device nodes", gone(f"sys/bus/pci/drivers/vfio-pci/{DSA}"), UNKNOWN, "nothing shows it", "bind a function"),
    (
        "options",
        parameter("vfio", "enable_unsafe_noiommu_mode", "Y"),
        WARN,
        "could write any memory",
        "echo N | sudo tee /sys/module/vfio/parameters/enable_unsafe_noiommu_mode",
    ),
    ("options", parameter("iommufd", "allow_unsafe_interrupts", "Y"), WARN, "forge interrupts", "echo N | sudo tee"),
    (
        "denylist",
        several(dsa(ids="8086:0b25"), parameter("vfio_pci", "disable_denylist", "N")),
        FAIL,
        "as trusted as root (INTEL-SA-01084)",
        "disable_denylist=1",
    ),
    ("denylist", dsa(ids="8086:0b25"), WARN, "as trusted as root", "whom you would make root"),
    (
        "denylist",
        several(dsa(ids="8086:0b25"), gone("sys/module/vfio_pci")),
        WARN,
        "not loaded",
        "/etc/modprobe.d/vfio-pci.conf",
    ),
    ("/dev/vfio/vfio", unnode("vfio/vfio", "iommu"), FAIL, "vfio is not loaded", "sudo modprobe"),
    (
        "/dev/vfio/vfio",
        several(unnode("vfio/vfio", "iommu"), file(".dockerenv")),
        FAIL,
        "container was not given it",
        "--device /dev/vfio/vfio",
    ),
    (
        "/dev/vfio/vfio",
        node("vfio/vfio", mode=0o600, group="root", accessible=False),
        FAIL,
        "opens no device",
        "udev install",
    ),
    ("/dev/iommu", unnode("iommu"), WARN, "iommu=iommufd and PASIDs", "--device /dev/iommu"),
    ("/dev/iommu", node("iommu", mode=0o666), WARN, "everybody may open it", "vfio-ims udev install"),
    (
        "/dev/iommu",
        several(node("iommu", mode=0o600, group="root", accessible=False), gone("etc/udev/rules.d/60-vfio-ims.rules")),
        WARN,
        "only root may",
        "sudo vfio-ims udev install",
    ),
    ("udevd", gone("run/udev/control"), WARN, "no rule is applied", "sudo apt install udev"),
    ("udevd", several(gone("run/udev/control"), file(".dockerenv")), NOTE, "container", "the host's"),
    ("udev rules", gone("etc/udev/rules.d/60-vfio-ims.rules"), FAIL, "only root may", "sudo vfio-ims udev install"),
    ("udev rules", file("etc/udev/rules.d/60-vfio-ims.rules", "old"), WARN, "another version", "udev print | diff"),
    ("group", file("etc/group", "root:x:0:"), FAIL, "there is no group vfio", "sudo groupadd --system vfio"),
    ("group", file("etc/group", "vfio:x:77:"), FAIL, "not in group vfio", "sudo usermod -aG vfio"),
    ("open to all", node("vfio/23", mode=0o666), WARN, "every local user", "sudo chmod o= /dev/vfio/23"),
    ("hugepages", file("proc/meminfo", "Hugepagesize:  2048 kB"), NOTE, "not needed", "sysctl vm.nr_hugepages=2"),
    ("hugepages", gone("proc/meminfo"), UNKNOWN, "does not say", "grep Huge"),
    ("present", several(no_groups, on_arm64), FAIL, "names no SMMU", "turn the SMMU on in the firmware"),
    ("scalable mode", on_arm64, NOTE, "this machine is arm64", ""),
    ("ST64B", on_arm64, NOTE, "a device that wants them", "nothing to do"),
    ("ST64B", file("proc/cpuinfo", ARM64.format(" ls64")), OK, "the processor has it", ""),
    ("MOVDIR64B", file("proc/cpuinfo", "flags : fpu"), WARN, "dedicated queue", "Sapphire Rapids"),
    ("MOVDIR64B", file("proc/cpuinfo", "processor : 0"), UNKNOWN, "no x86", "grep movdir64b"),
    ("ENQCMD", file("proc/cpuinfo", "flags : fpu"), NOTE, "behind VFIO it could not be used", "nothing"),
    ("answers", dsa(driver="vfio-pci", config=b"\xff" * 4096), FAIL, "all ones", "/sys/bus/pci/rescan"),
    ("answers", gone(f"sys/bus/pci/devices/{DSA}/config"), UNKNOWN, "cannot be read", "ls -l"),
    ("IOMMU group", sibling, FAIL, f"{IAA} (driver idxd)", f"sudo vfio-ims bind {DSA} --group"),
    ("IOMMU group", gone(f"sys/bus/pci/devices/{DSA}/iommu_group"), FAIL, "no IOMMU stands", "VT-d or AMD-Vi"),
    ("IOMMU group", tree("kernel/iommu_groups/23/name", "vfio-noiommu"), FAIL, "any memory", "vfio-ims unbind"),
    ("/dev/vfio/23", unnode("vfio/23", "vfio/devices/vfio1"), FAIL, "has not made it", "--device /dev/vfio/23"),
    ("/dev/vfio/23", unnode("vfio/23"), WARN, "has not made it", "ls -l /dev/vfio"),
    (
        "/dev/vfio/23",
        several(node("vfio/23", accessible=False), node("vfio/devices/vfio1", accessible=False)),
        FAIL,
        "is not in group vfio",
        "sudo usermod -aG vfio",
    ),
    (
        "/dev/vfio/23",
        several(
            node("vfio/23", group="root", mode=0o600, accessible=False),
            node("vfio/devices/vfio1", accessible=False),
        ),
        FAIL,
        "were not applied to it",
        "sudo udevadm trigger",
    ),
    (
        "/dev/vfio/devices/vfio1",
        node("vfio/devices/vfio1", group="root", mode=0o600, accessible=False),
        WARN,  # the group's node opens
        "were not applied to it",
        "sudo udevadm trigger",
    ),
    ("free", lambda box: box.process(99, "qemu", "/dev/vfio/23"), FAIL, "process 99 (qemu)", "kill 99"),
    (
        "SR-IOV",
        several(
            lambda box: box.tree.function("0000:6a:00.0", "8086:0001", driver="vfio-pci"),
            lambda box: box.tree.link(f"bus/pci/devices/{DSA}/physfn", "bus/pci/devices/0000:6a:00.0"),
        ),
        WARN,
        "VF token",
        "sudo vfio-ims restore 0000:6a:00.0",
    ),
    ("reset", dsa(driver="vfio-pci", reset=""), WARN, "no way to reset it", "cat"),
    ("reset", gone(f"sys/bus/pci/devices/{DSA}/reset_method"), WARN, "stays wedged", "reset_method"),
    (
        "reset",
        several(gone(f"sys/bus/pci/devices/{DSA}/reset_method"), file("proc/sys/kernel/osrelease", "5.10.0")),
        UNKNOWN,
        "before 5.15",
        "ls ",
    ),
    ("reset", dsa(driver="vfio-pci", reset="bus"), WARN, "every function of the bus", "bound to VFIO"),
    ("power", dsa(driver="vfio-pci", power="D3hot"), NOTE, "opening it wakes it", "echo on | sudo tee"),
    ("power", dsa(driver="vfio-pci", power="D3cold"), WARN, "no power", "disable_idle_d3=1"),
    ("power", dsa(driver="vfio-pci", power="unknown"), UNKNOWN, "does not say", ""),
    (
        "link",
        several(
            tree(f"bus/pci/devices/{DSA}/current_link_speed", "8.0 GT/s PCIe"),
            tree(f"bus/pci/devices/{DSA}/current_link_width", "4"),
            tree(f"bus/pci/devices/{DSA}/max_link_speed", "16.0 GT/s PCIe"),
            tree(f"bus/pci/devices/{DSA}/max_link_width", "4"),
        ),
        NOTE,
        "8 GT/s x4 of 16 GT/s x4",
        "reseat it",
    ),
    (
        "errors",
        tree(f"bus/pci/devices/{DSA}/aer_dev_fatal", "TOTAL_ERR_FATAL 3"),
        WARN,
        "3 fatal",
        "dmesg | grep -i aer",
    ),
    (
        "errors",
        tree(f"bus/pci/devices/{DSA}/aer_dev_correctable", "TOTAL_ERR_COR 9"),
        NOTE,
        "9 correctable",
        "aer_dev_*",
    ),
    (
        "errors",
        gone(*(f"sys/bus/pci/devices/{DSA}/aer_dev_{kind}" for kind in ("correctable", "fatal", "nonfatal"))),
        UNKNOWN,
        "counts no errors",
        "dmesg",
    ),
    ("IMS: SIOV DVSEC", dsa(driver="vfio-pci", config=SPR_DSA[:256] + bytes(3840)), NOTE, "hint only", "--live"),
    (
        "IMS: donors",
        dsa(driver="vfio-pci", config=SPR_DSA[:0x34] + bytes(4096 - 0x34)),
        FAIL,
        "no MSI-X",
        "use a function",
    ),
    ("IMS: IMS bit", dsa(driver="vfio-pci", config=SPR_DSA[:64]), UNKNOWN, "64 bytes of config", "as root"),
    ("IMS: interrupt remapping", tree("kernel/irq/40/chip_name", "PCI-MSIX"), WARN, "PCI-MSIX", "x2APIC"),
    ("virtual machine", in_a_vm, NOTE, "flag hypervisor", "nothing to do"),
    ("present", several(in_a_vm, no_groups), FAIL, "it was given no IOMMU", "intel-iommu,intremap=on,caching-mode=on"),
    (
        "interrupt remapping",
        several(in_a_vm, tree("kernel/irq/40/chip_name", "PCI-MSIX")),
        FAIL,
        "a virtual machine",
        "<driver intremap='on'",
    ),
    (
        "IOMMU group",
        several(in_a_vm, gone(f"sys/bus/pci/devices/{DSA}/iommu_group")),
        FAIL,
        "no IOMMU stands",
        "give the VM a vIOMMU",
    ),
    ("driver", tree(f"bus/pci/devices/{DSA}/class", "0x060000"), FAIL, "host bridge", "vfio-ims list"),
]

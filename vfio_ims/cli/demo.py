# SPDX-License-Identifier: Apache-2.0
"""``vfio-ims demo``: the main job on a device in software, step by step."""

from __future__ import annotations

import time

import click

from vfio_ims.cli.output import console, device_argument

__all__ = ["command"]


@click.command()
@device_argument(default="mock:intel-dsa")
def command(device: str) -> None:
    """DEVICE is mock:intel-dsa unless named."""
    import vfio_ims

    out = console()

    def show(title: str, text: object) -> None:
        out.print(f"[bold]{title:>9}[/]  {text}", highlight=False)

    with vfio_ims.open_driver(device) as driver:
        header = driver.device.config.header
        show("device", f"{driver.label} is {header.vendor:04x}:{header.device:04x}, driver {type(driver).__name__}")
        dvsec = driver.device.capabilities.siov_dvsec
        if dvsec is not None:
            show("hint", f"SIOV DVSEC at {dvsec.offset:#x}, IMS bit {'set' if dvsec.ims else 'clear'}")
        show("verdict", driver.verdict)
        with driver.ims.allocate_group(3) as irqs:
            for irq in irqs:
                show("slot", irq)
            irq = irqs[1]
            began = time.perf_counter()
            report = driver.fire(irq.slot)
            woken = irq.wait(timeout=1)
            took = (time.perf_counter() - began) * 1e6
            show("fire", f"slot {irq.slot}: the device says {report}")
            show("interrupt", f"{'received' if woken else 'LOST'} on vector {irq.donor}, {took:.0f} µs after the fire")
            if driver.ims.table.has_mask:
                irq.mask()
                show("masked", f"slot {irq.slot}: the device says {driver.fire(irq.slot)}, pending: {irq.pending}")
                irq.unmask()
                show("unmasked", f"interrupt {'received' if irq.wait(timeout=1) else 'LOST'}")
    show("closed", "slots masked and zeroed, vectors released, device quiet")
    out.print(f"\nNext: vfio-ims selftest {device}    vfio-ims list", highlight=False)

# SPDX-License-Identifier: Apache-2.0
"""A device by descriptors that a privileged program opened and passed: it has no name to be opened by."""

from __future__ import annotations

from vfio_ims.device import Device


def open_fd(
    name: str | None = None,
    *,
    device: int | None = None,
    iommufd: int | None = None,
    group: int | None = None,
    container: int | None = None,
    config: int | None = None,
) -> Device:
    """Open a function through descriptors that a privileged program opened and passed; no node is opened for it.

    ``device`` with ``iommufd``: the function's own node, bound already or not. ``group``, with ``device`` and
    ``container`` where it has them. What is not passed of /dev/iommu and /dev/vfio/vfio is opened here. ``name``: the
    PCI address, needed where the descriptors leave it open (a group of several functions).

    ``config``: of the function's ``config`` in sysfs, opened by root, for donors from MSI; it stays the caller's.

    On success the other descriptors are the device's, and are closed with it; where it fails they stay the caller's.
    Opening a descriptor of a node that is not bound yet resets the function where it can. UsageError for descriptors
    that do not belong together; else the errors of ``open_device``.
    """
    from vfio_ims.backends.kernel.passed import Passed, open_passed

    port = open_passed(name, Passed(device, group, container, iommufd))
    try:
        from vfio_ims.device.msi_registers import sysfs_config

        return Device(port, host_config=None if config is None else sysfs_config(config, port.name))
    except BaseException:
        port.close()
        raise

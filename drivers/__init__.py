# SPDX-License-Identifier: Apache-2.0
"""The vendor drivers: one folder a family, everything vendor-specific inside it."""

# A second import under another name would make two classes of everything: isinstance and the registry would break.
if __name__ != "vfio_ims.drivers":
    raise ImportError(
        f"import vfio_ims.drivers, not {__name__}: run from outside the source tree or drop it from sys.path"
    )

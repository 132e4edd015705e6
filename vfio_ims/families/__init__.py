# SPDX-License-Identifier: Apache-2.0
"""What a family of devices declares, and which families there are: in the package, installed, in private folders.

A family is a folder: it declares its ids, its driver and its models once; listing, probing, udev rules and docs derive
from that.
"""

from vfio_ims.families.family import Family
from vfio_ims.families.lookup import blocks_of, family_for, family_of_model, model_names, not_under_test
from vfio_ims.families.private import all_families, load_folder, private_folders

__all__ = [
    "Family",
    "all_families",
    "blocks_of",
    "family_for",
    "family_of_model",
    "load_folder",
    "model_names",
    "not_under_test",
    "private_folders",
]

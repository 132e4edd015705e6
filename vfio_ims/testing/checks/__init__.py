# SPDX-License-Identifier: Apache-2.0
"""The checks of the conformance suite, by what they are about; ``vfio_ims.testing.conformance`` runs all of them."""

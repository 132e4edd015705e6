# SPDX-License-Identifier: Apache-2.0
"""What the driver and the models share: registers, the format of elements, numbers and places."""

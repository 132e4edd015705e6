# SPDX-License-Identifier: Apache-2.0
"""What driver and model share: registers, list elements, and how the engine is found."""

# SPDX-License-Identifier: Apache-2.0
"""Wrappers around ports, windows and address spaces."""

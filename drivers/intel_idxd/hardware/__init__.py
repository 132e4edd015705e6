# SPDX-License-Identifier: Apache-2.0
"""The devices as driver and model both see them: registers, tables, portals, descriptors, records, status codes."""

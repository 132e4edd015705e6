# SPDX-License-Identifier: Apache-2.0
"""Functions of other machines, which labgrid or jumpstarter lends out.

Registers and events cross; no descriptor does: what needs the device runs on the host that owns the card
(``remote_function``).
"""

# SPDX-License-Identifier: Apache-2.0
"""JSON Schemas (draft 2020-12) of the answers that verbs give with ``--json``: one file an answer, by the verb's name.

``schema("selftest")`` is the document that ``vfio-ims selftest --json`` keeps to. Each file stands alone, so that any
validator takes it; what all answers begin with is in each, and in ``ENVELOPE``. docs/json.md is the same for people.
"""

from vfio_ims.schemas.loader import ENVELOPE, names, schema

__all__ = ["ENVELOPE", "names", "schema"]

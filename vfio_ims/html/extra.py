# SPDX-License-Identifier: Apache-2.0
"""The packages that pages need, loaded on use."""

from __future__ import annotations

import importlib
from typing import Any

from vfio_ims.errors import SetupError

__all__ = ["load"]


def load(module: str) -> Any:
    """The module, of a package of the extra ``html``; SetupError where that is not installed or cannot be loaded."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        missing = isinstance(error, ModuleNotFoundError) and error.name == package
        why = f"{package} is not installed" if missing else f"{package} cannot be loaded: {error}"
        raise SetupError("make a page of results", why=why, hint="pip install 'vfio-ims[html]'") from error

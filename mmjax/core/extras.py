"""Packages that an extra installs."""

from __future__ import annotations

import importlib
from types import ModuleType

from mmjax.core.errors import ConfigError


class MissingExtra(ConfigError, ImportError):
    """A package that an optional extra installs is not there."""


def require(module: str, extra: str) -> ModuleType:
    """The imported optional `module`; raises MissingExtra, which says how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(
            114, f"{module} is not installed", fix=f"pip install 'mmjax[{extra}]'"
        ) from error

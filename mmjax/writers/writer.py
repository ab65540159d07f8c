"""The interface of everything that takes a run's numbers."""

from __future__ import annotations

import abc
import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import ClassVar

from mmjax.core.errors import ConfigError


class Writer(abc.ABC):
    """Takes scalars by step. One thread calls it; `close` is called once, last."""

    essential: ClassVar[bool] = False
    """True for what belongs to the run folder: its failures are reported, not dropped."""

    @abc.abstractmethod
    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Records `values` as of `step` finished steps; names are paths (`validation/accuracy`)."""

    @abc.abstractmethod
    def close(self) -> None:
        """Writes what is pending and lets go of files and connections."""


class MissingExtra(ConfigError, ImportError):
    """A package that an optional extra installs is not there."""


def require_extra(module: str, extra: str) -> ModuleType:
    """The imported optional `module`; raises MissingExtra, which says how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(
            107, f"{module} is not installed", fix=f"pip install 'mmjax[{extra}]'"
        ) from error

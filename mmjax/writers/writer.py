"""The interface of everything that takes a run's numbers."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import ClassVar


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

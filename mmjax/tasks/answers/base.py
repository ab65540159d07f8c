"""What every kind of answers offers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

Predictions = Mapping[str, np.ndarray]
"""What a model says, one row an example."""
RowTexts = Mapping[str, Sequence[Any]]
"""The rows' own texts by modality."""
Rows = list[dict[str, Any]]


@runtime_checkable
class Answers(Protocol):
    """How predictions are told: a frozen dataclass of names and numbers."""

    def decode(self, predictions: Predictions, texts: RowTexts | None = None) -> Rows:
        """One JSON-able dictionary a row."""


def scalars(predictions: Predictions, *names: str) -> list[dict[str, float]]:
    """Of each row, what the predictions `names` say where they are there, as plain numbers."""
    here = {name: np.asarray(predictions[name]) for name in names if name in predictions}
    rows = len(next(iter(predictions.values())))
    return [{name: float(values[row]) for name, values in here.items()} for row in range(rows)]


def texts_of(texts: RowTexts | None, modality: str, rows: int) -> Sequence[str | None]:
    """The rows' texts, None where they are not known."""
    return (texts or {}).get(modality) or [None] * rows

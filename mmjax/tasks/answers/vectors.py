"""Answers that are vectors, for search and for other models."""

from __future__ import annotations

import dataclasses

import numpy as np

from mmjax.tasks.answers.base import Predictions, Rows, RowTexts


@dataclasses.dataclass(frozen=True)
class Vectors:
    """A vector a modality; None of one that a row has not.

    With `joint`, all modalities share one space, where the product of two says how alike they are.
    """

    spaces: tuple[str, ...]
    joint: bool = False

    def decode(self, predictions: Predictions, texts: RowTexts | None = None) -> Rows:
        """`{"embeddings": {space: [float]}}` for each row."""
        own = {name: np.asarray(predictions[name], np.float64) for name in self.spaces}
        rows = len(next(iter(own.values())))
        return [
            {
                "embeddings": {
                    name: value[row].tolist() if value[row].any() else None
                    for name, value in own.items()
                }
            }
            for row in range(rows)
        ]

"""Answers that are items of a catalogue, or scores of candidates."""

from __future__ import annotations

import dataclasses

import numpy as np

from mmjax.tasks.answers.base import Predictions, Rows, RowTexts, scalars


@dataclasses.dataclass(frozen=True)
class Items:
    """Items by their keys, `names`."""

    names: tuple[str, ...]

    def decode(self, predictions: Predictions, texts: RowTexts | None = None) -> Rows:
        """`{"items": [key, ...], "scores": [number, ...]}` for each row, best first."""
        rows = []
        for items, scores in zip(predictions["items"], predictions["scores"], strict=True):
            kept = np.isfinite(scores)
            rows.append(
                {
                    "items": [self.names[int(i)] for i in items[kept]],
                    "scores": [float(s) for s in scores[kept]],
                }
            )
        return rows


@dataclasses.dataclass(frozen=True)
class Scores:
    """How well each candidate answers."""

    def decode(self, predictions: Predictions, texts: RowTexts | None = None) -> Rows:
        """`{"score", "probability"}` of each candidate; a question's answer has the highest."""
        return list(scalars(predictions, "score", "probability", "uncertainty"))

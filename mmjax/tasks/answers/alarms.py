"""Answers that say how unusual a row is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

import numpy as np

from mmjax.core.typing import Float
from mmjax.tasks.answers.base import Predictions, Rows, RowTexts


@dataclasses.dataclass(frozen=True)
class Alarms:
    """The standardised scores of a row's parts, what they come to, and whether that is an alarm."""

    combine: Literal["mean", "max"] = "mean"
    means: Mapping[str, float] = dataclasses.field(default_factory=dict)
    deviations: Mapping[str, float] = dataclasses.field(default_factory=dict)
    threshold: float | None = None

    def parts(self, predictions: Predictions) -> dict[str, Float[np.ndarray, "n"]]:
        """The scores of each part: 0 is usual, and 3 three deviations above it."""
        return {
            part: (one - self.means.get(part, 0.0)) / self.deviations.get(part, 1.0)
            for part, one in scores_of(predictions).items()
        }

    def total(self, predictions: Predictions) -> Float[np.ndarray, "n"]:
        """The score of each row as a whole, in float64: over the parts that it has, or 0."""
        scores = np.stack(list(self.parts(predictions).values()))
        known = np.isfinite(scores)
        if self.combine == "max":
            best = np.where(known, scores, -np.inf).max(axis=0)
            return np.where(known.any(axis=0), best, 0.0)
        return np.where(known, scores, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)

    def decode(self, predictions: Predictions, texts: RowTexts | None = None) -> Rows:
        """`{"score", "alarm", "scores": {part: score}}` for each row, parts that it lacks left out.

        `alarm` is None for a run without validation rows, which has no threshold.
        """
        scores, rows = self.parts(predictions), []
        for row, score in enumerate(self.total(predictions).tolist()):
            own = {part: float(one[row]) for part, one in scores.items() if np.isfinite(one[row])}
            alarm = None if self.threshold is None else score > self.threshold
            rows.append({"score": score, "alarm": alarm, "scores": own})
        return rows


def scores_of(predictions: Predictions) -> dict[str, Float[np.ndarray, "n"]]:
    """The scores of each part, in float64, in the order of their names."""
    return {
        name.removeprefix("score/"): np.asarray(predictions[name], np.float64)
        for name in sorted(predictions)
        if name.startswith("score/")
    }

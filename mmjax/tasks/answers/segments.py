"""Answers that are labelled times."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np

from mmjax.core.typing import Float
from mmjax.metrics.segments import Segment, runs
from mmjax.tasks.answers.base import Predictions, Rows, RowTexts


@dataclasses.dataclass(frozen=True)
class Segments:
    """Runs of steps of one label (of several: from `threshold` on) of `shortest` seconds or more.

    With one label a step, the first class is nothing, and `names` are those after it.
    """

    names: tuple[str, ...]
    labels: Literal["one", "several"] = "one"
    threshold: float = 0.5
    shortest: float = 0.0

    def found(self, predictions: Predictions) -> list[list[tuple[Segment, float]]]:
        """The segments of each row in seconds, and the mean probability of their steps."""
        chances = np.asarray(predictions["probabilities"], np.float64)
        rows = zip(chances, predictions["seconds"], predictions["mask"], strict=True)
        return [
            self._of_row(
                chance[np.asarray(mask)], np.asarray(seconds, np.float64)[np.asarray(mask)]
            )
            for chance, seconds, mask in rows
        ]

    def _of_row(
        self, chances: Float[np.ndarray, "s c"], seconds: Float[np.ndarray, "s 2"]
    ) -> list[tuple[Segment, float]]:
        if self.labels == "one":
            best = chances.argmax(axis=1)
            tracks = [(run, run.label - 1, chances[:, run.label]) for run in runs(best, 0)]
        else:
            tracks = [
                (run, v, chances[:, v])
                for v in range(chances.shape[1])
                for run in runs((chances[:, v] >= self.threshold).astype(int), 0)
            ]
        found = []
        for run, label, chance in tracks:
            first, last = int(run.start), int(run.end)
            start, end = float(seconds[first, 0]), float(seconds[last - 1, 1])
            if end - start >= self.shortest:
                found.append((Segment(start, end, label), float(chance[first:last].mean())))
        return sorted(found)

    def decode(self, predictions: Predictions, texts: RowTexts | None = None) -> Rows:
        """`{"segments": [{"start", "end", "label", "score"}]}` for each row, in seconds."""
        return [
            {
                "segments": [
                    {
                        "start": one.start,
                        "end": one.end,
                        "label": self.names[one.label],
                        "score": score,
                    }
                    for one, score in row
                ]
            }
            for row in self.found(predictions)
        ]

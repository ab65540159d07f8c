"""Answers that are boxes in a picture."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from mmjax.tasks.answers.base import Predictions, Rows, RowTexts


@dataclasses.dataclass(frozen=True)
class Boxes:
    """Boxes with a score of `threshold` or more."""

    names: tuple[str, ...]
    threshold: float = 0.5

    def decode(self, predictions: Predictions, texts: RowTexts | None = None) -> Rows:
        """`{"boxes": [{"box": [x0, y0, x1, y1], "label", "score"}]}` for each row, surest first.

        Left, top, right and bottom are shares of the picture's width and height, whatever size it
        was read at: times both, they are pixels.
        """
        each = zip(
            np.asarray(predictions["boxes"], np.float64),
            np.asarray(predictions["scores"], np.float64),
            np.asarray(predictions["labels"]),
            strict=True,
        )
        return [{"boxes": self._found(*row)} for row in each]

    def _found(
        self, boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray
    ) -> list[dict[str, Any]]:
        order = np.argsort(-scores, kind="stable")
        return [
            {
                "box": boxes[i].tolist(),
                "label": self.names[int(labels[i])],
                "score": float(scores[i]),
            }
            for i in order.tolist()
            if scores[i] >= self.threshold
        ]

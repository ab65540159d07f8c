"""Answers that are names: of a class, a rank, labels, or choices of a vocabulary."""

from __future__ import annotations

import dataclasses

import numpy as np

from mmjax.core.typing import Float
from mmjax.tasks.answers.base import Predictions, Rows, RowTexts, scalars


@dataclasses.dataclass(frozen=True)
class Classes:
    """The likeliest of `names`."""

    names: tuple[str, ...]

    def decode(self, predictions: Predictions, texts: RowTexts | None = None) -> Rows:
        """`{"label", "probability", "probabilities": {label: p}}` for each row.

        With an `uncertainty` in the predictions, that too.
        """
        rows = []
        more = scalars(predictions, "uncertainty")
        for row, probabilities in enumerate(np.asarray(predictions["probabilities"], np.float64)):
            best = int(probabilities.argmax())
            shares = {n: float(p) for n, p in zip(self.names, probabilities, strict=True)}
            rows.append(
                {
                    "label": self.names[best],
                    "probability": shares[self.names[best]],
                    "probabilities": shares,
                    **more[row],
                }
            )
        return rows


@dataclasses.dataclass(frozen=True)
class ValuedClasses(Classes):
    """Classes of which each stands for a number."""

    values: tuple[float, ...] = ()

    def decode(self, predictions: Predictions, texts: RowTexts | None = None) -> Rows:
        """`{"label", "probability", "probabilities", "score"}` for each row."""
        scores = np.asarray(predictions["probabilities"], np.float64) @ np.asarray(self.values)
        rows = super().decode(predictions, texts)
        return [{**row, "score": float(score)} for row, score in zip(rows, scores, strict=True)]


@dataclasses.dataclass(frozen=True)
class Ranks:
    """One of `names`, which have an order."""

    names: tuple[str, ...]

    def decode(self, predictions: Predictions, texts: RowTexts | None = None) -> Rows:
        """`{"label", "rank", "expected_rank", "probabilities": {label: p}}` for each row.

        With an `uncertainty` in the predictions, that too.
        """
        more = scalars(predictions, "uncertainty")
        chances = np.asarray(predictions["probabilities"], np.float64)
        ranks = np.asarray(predictions["rank"])
        return [
            {
                "label": self.names[int(rank)],
                "rank": int(rank),
                "expected_rank": float(own @ np.arange(len(self.names))),
                "probabilities": {n: float(p) for n, p in zip(self.names, own, strict=True)},
                **more[row],
            }
            for row, (own, rank) in enumerate(zip(chances, ranks, strict=True))
        ]


@dataclasses.dataclass(frozen=True)
class Labels:
    """Those of `names` whose probability reaches the threshold of each, `cuts`."""

    names: tuple[str, ...]
    cuts: tuple[float, ...]

    def decode(self, predictions: Predictions, texts: RowTexts | None = None) -> Rows:
        """`{"labels": [name, ...], "probabilities": {label: p}}` for each row, likeliest first.

        With an `uncertainty` in the predictions, the mean of that of its labels.
        """
        rows = []
        more = self._doubts(predictions)
        for row, chances in enumerate(np.asarray(predictions["probabilities"], np.float64)):
            order = np.argsort(-chances, kind="stable")
            rows.append(
                {
                    "labels": [self.names[i] for i in order if chances[i] >= self.cuts[i]],
                    "probabilities": {self.names[i]: float(chances[i]) for i in order},
                    **more[row],
                }
            )
        return rows

    def _doubts(self, predictions: Predictions) -> list[dict[str, float]]:
        rows = len(predictions["probabilities"])
        if "uncertainty" not in predictions:
            return [{} for _ in range(rows)]
        flat: Float[np.ndarray, "b"] = np.asarray(predictions["uncertainty"])
        return scalars({"uncertainty": flat.reshape(rows, -1).mean(axis=1)}, "uncertainty")


@dataclasses.dataclass(frozen=True)
class Choices:
    """The `top_k` likeliest of `names`."""

    names: tuple[str, ...]
    top_k: int = 5

    def decode(self, predictions: Predictions, texts: RowTexts | None = None) -> Rows:
        """`{"answer", "probability", "answers": [{"answer", "probability"}, ...]}`, best first."""
        more, rows = scalars(predictions, "uncertainty"), []
        for row, chances in enumerate(np.asarray(predictions["probabilities"], np.float64)):
            best = np.argsort(-chances, kind="stable")[: self.top_k]
            answers = [{"answer": self.names[i], "probability": float(chances[i])} for i in best]
            rows.append({**answers[0], "answers": answers, **more[row]})
        return rows

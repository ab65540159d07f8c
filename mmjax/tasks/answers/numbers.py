"""Answers that are numbers, in the units of the data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from mmjax.core.typing import Float
from mmjax.tasks.answers.base import Predictions, Rows, RowTexts

LABELS = ("negative", "neutral", "positive")
MOST = 3.0
"""Scores of sentiment are from -3 to 3, as CMU-MOSI and CMU-MOSEI have them."""


@dataclasses.dataclass(frozen=True)
class Numbers:
    """One number or several, by `names`; in the model they are less `means` over `deviations`."""

    names: tuple[str, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]
    quantiles: tuple[float, ...] = ()

    def in_units(self, values: np.ndarray) -> Float[np.ndarray, "n t *q"]:
        """Numbers `[n t]` or `[n t q]` of predictions in the data's units, float64."""
        values = np.asarray(values, np.float64)
        shape = (-1, *[1] * (values.ndim - 2))
        means, deviations = np.asarray(self.means), np.asarray(self.deviations)
        return means.reshape(shape) + deviations.reshape(shape) * values

    def decode(self, predictions: Predictions, texts: RowTexts | None = None) -> Rows:
        """`{"value": number, "quantiles": {"0.1": number}}` for each row.

        Of several targets `{"values": {name: number}, "quantiles": {name: {"0.1": number}}}`.
        """
        values = self.in_units(predictions["values"])
        each = self.in_units(predictions["quantiles"]) if "quantiles" in predictions else None
        names = self.names
        rows: Rows = []
        for i, row in enumerate(values.tolist()):
            answer: dict[str, Any] = {"value": row[0]}
            quantiles = [] if each is None else each[i].tolist()
            spread = [dict(zip(map(str, self.quantiles), one, strict=True)) for one in quantiles]
            if len(names) > 1:
                answer = {"values": dict(zip(names, row, strict=True))}
            if spread and len(names) > 1:
                answer["quantiles"] = dict(zip(names, spread, strict=True))
            elif spread:
                answer["quantiles"] = spread[0]
            rows.append(answer)
        return rows


@dataclasses.dataclass(frozen=True)
class SentimentScores:
    """How positive each row is, and, of `heads` of single modalities, each modality alone.

    `mean` and `deviation` bring predictions to the data's units; those of a head are its own, and
    these where it has none.
    """

    neutral: float
    mean: float
    deviation: float
    heads: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)

    def decode(self, predictions: Predictions, texts: RowTexts | None = None) -> Rows:
        """`{"score", "label"}` for each row; with heads, `scores` by modality that it has.

        The score is cut to [-3, 3]; what is up to `neutral` from 0 is neutral.
        """
        own: dict[str, list[float]] = {}
        for key, values in predictions.items():
            if key.endswith("_values"):
                name = key.removesuffix("_values")
                own[name] = _scores(values, *self.heads.get(name, (self.mean, self.deviation)))
        found = []
        for row, score in enumerate(_scores(predictions["values"], self.mean, self.deviation)):
            answer: dict[str, Any] = {"score": score, "label": _label_of(score, self.neutral)}
            if own:
                scores = {name: values[row] for name, values in own.items()}
                answer["scores"] = {n: value for n, value in scores.items() if value == value}
            found.append(answer)
        return found


def _scores(values: np.ndarray, mean: float, deviation: float) -> list[float]:
    units = mean + deviation * np.asarray(values, np.float64)
    return np.clip(units[:, 0], -MOST, MOST).tolist()


def _label_of(score: float, neutral: float) -> str:
    """The class of a score that is neutral up to `neutral` either way."""
    return LABELS[1 + int(score > neutral) - int(score < -neutral)]

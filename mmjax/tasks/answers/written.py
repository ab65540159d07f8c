"""Answers that are texts, spelled from the ids that a model wrote or heard."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from mmjax.core.errors import DataError
from mmjax.data.spelling import spelled
from mmjax.generate.consensus import consensus
from mmjax.tasks.answers.base import Predictions, Rows, RowTexts
from mmjax.tasks.ctc import best_texts


@dataclasses.dataclass(frozen=True)
class Texts:
    """Texts of ids up to `end_id`, by the tokenizer `speller` (`data.spelling.written`).

    Of several texts a row has the one that agrees most with the others; those of a search
    (`searched`) count by their probability, whose logarithm is the score times the number of ids to
    the power of `length_penalty`.
    """

    speller: str
    end_id: int
    several: bool = False
    searched: bool = False
    length_penalty: float = 1.0

    def texts(self, predictions: Predictions) -> list[str]:
        """The text of each row. Raises DataError for ids and lengths that do not fit."""
        rows = self._said(predictions)
        chosen = self._chosen(predictions, rows)
        return [row[one] for row, one in zip(rows, chosen, strict=True)]

    def decode(self, predictions: Predictions, texts: RowTexts | None = None) -> Rows:
        """`{"text", "score"}` for each row; of several, the chosen one, and all as "texts"."""
        rows = self._said(predictions)
        scores = np.asarray(predictions["scores"], np.float64).reshape(len(rows), -1).tolist()
        chosen = self._chosen(predictions, rows)
        found: Rows = [
            {"text": row[one], "score": own[one]}
            for row, own, one in zip(rows, scores, chosen, strict=True)
        ]
        if not self.several:
            return found
        return [{**one, "texts": row} for one, row in zip(found, rows, strict=True)]

    def spell(self, ids: Sequence[int]) -> str:
        """The text of ids."""
        return spelled(self.speller, ids, self.end_id)

    def _said(self, predictions: Predictions) -> list[list[str]]:
        """All texts of each row."""
        ids, lengths = np.asarray(predictions["ids"]), np.asarray(predictions["lengths"])
        if ids.ndim not in (2, 3) or ids.shape[:-1] != lengths.shape:
            raise DataError(540, f"ids of shape {list(ids.shape)}, {len(lengths)} lengths")
        ids = ids.reshape(len(ids), -1, ids.shape[-1])
        return [
            [self.spell(one[:length]) for one, length in zip(*row, strict=True)]
            for row in zip(ids.tolist(), lengths.reshape(len(ids), -1).tolist(), strict=True)
        ]

    def _chosen(self, predictions: Predictions, rows: Sequence[Sequence[str]]) -> list[int]:
        """Which text of each row it is."""
        if all(len(row) == 1 for row in rows):
            return [0] * len(rows)
        weights = np.ones(np.shape(predictions["lengths"]))
        if self.searched:
            power = np.maximum(predictions["lengths"], 1.0) ** self.length_penalty
            whole = np.asarray(predictions["scores"], np.float64) * power
            weights = np.exp(whole - whole.max(axis=1, keepdims=True))
        return [consensus(row, one) for row, one in zip(rows, weights, strict=True)]


@dataclasses.dataclass(frozen=True)
class CtcTexts:
    """The likeliest texts of frames, by a search of `beams` or by the best path."""

    speller: str
    beams: int
    blank: int

    def decode(self, predictions: Predictions, texts: RowTexts | None = None) -> Rows:
        """`{"text", "score"}` for each row."""
        if "log_probabilities" in predictions:
            found = best_texts(
                np.asarray(predictions["log_probabilities"]),
                np.asarray(predictions["frames"]).tolist(),
                beams=self.beams,
                blank=self.blank,
            )
        else:
            ids = np.asarray(predictions["ids"]).tolist()
            lengths = np.asarray(predictions["lengths"]).tolist()
            scores = np.asarray(predictions["scores"], np.float64).tolist()
            found = [
                (tuple(row[:length]), score)
                for row, length, score in zip(ids, lengths, scores, strict=True)
            ]
        return [{"text": spelled(self.speller, ids), "score": score} for ids, score in found]

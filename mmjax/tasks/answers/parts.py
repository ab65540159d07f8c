"""Answers that are parts of a row's own text, counted in characters."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmjax.core.errors import DataError
from mmjax.tasks.answers.base import Predictions, Rows, RowTexts, texts_of


def as_dictionary(
    span: Sequence[int], names: Sequence[str], text: str | None, score: float
) -> dict[str, Any]:
    """A span as JSON values: start, end, label, its text if that is known, and score."""
    start, end, kind = (int(value) for value in span)
    words = {} if text is None else {"text": text[start:end]}
    label = names[kind] if kind < len(names) else str(kind)
    return {"start": start, "end": end, "label": label, **words, "score": float(score)}


@dataclasses.dataclass(frozen=True)
class Spans:
    """Labelled parts of the modality `text`."""

    text: str
    names: tuple[str, ...]

    def decode(self, predictions: Predictions, texts: RowTexts | None = None) -> Rows:
        """`{"spans": [{"start", "end", "label", "text", "score"}]}` for each row."""
        spans = np.asarray(predictions["spans"]).tolist()
        scores = np.asarray(predictions["scores"], np.float64).tolist()
        known = texts_of(texts, self.text, len(spans))
        return [
            {
                "spans": [
                    as_dictionary(span, self.names, text, score)
                    for span, score in zip(row, sure, strict=True)
                    if span[0] >= 0
                ]
            }
            for row, sure, text in zip(spans, scores, known, strict=True)
        ]


@dataclasses.dataclass(frozen=True)
class Events:
    """Triggers of events in the modality `text`, with the parts that play a role in them."""

    text: str
    types: tuple[str, ...]
    roles: tuple[str, ...]

    def decode(self, predictions: Predictions, texts: RowTexts | None = None) -> Rows:
        """`{"events": [{"start", "end", "label", "text", "score", "arguments": [...]}]}` a row.

        An argument is such a dictionary too, whose label is its role.
        """
        parts = ("triggers", "trigger_scores", "arguments", "argument_scores")
        triggers, sure, arguments, roles = (
            np.asarray(predictions[name]).tolist() for name in parts
        )
        rows: Rows = []
        for row, text in enumerate(texts_of(texts, self.text, len(triggers))):
            found: dict[tuple[int, int], dict[str, Any]] = {}
            for span, score in zip(triggers[row], sure[row], strict=True):
                if span[0] >= 0:
                    one = as_dictionary(span, self.types, text, score)
                    found[span[0], span[1]] = {**one, "arguments": []}
            for one, score in zip(arguments[row], roles[row], strict=True):
                if one[0] >= 0:
                    span = (one[0], one[1], one[5])
                    part = as_dictionary(span, self.roles, text, score)
                    found[one[2], one[3]]["arguments"].append(part)
            rows.append({"events": list(found.values())})
        return rows


@dataclasses.dataclass(frozen=True)
class Relations:
    """What two marked parts of the modality `text` are to each other."""

    text: str
    names: tuple[str, ...]
    multi_label: bool = False
    threshold: float = 0.5

    def decode(self, predictions: Predictions, texts: RowTexts | None = None) -> Rows:
        """`{"label", "probability", "probabilities", "head", "tail"}` for each row.

        With `multi_label`, `labels` in place of the first two; `head` and `tail` are texts, where
        those are known.
        """
        rows = []
        shares = np.asarray(predictions["probabilities"], np.float64)
        marks = np.asarray(predictions["marks"]).tolist()
        known = texts_of(texts, self.text, len(shares))
        for each, parts, text in zip(shares, marks, known, strict=True):
            named = {name: float(p) for name, p in zip(self.names, each, strict=True)}
            if self.multi_label:
                said: dict[str, Any] = {
                    "labels": [name for name, p in named.items() if p >= self.threshold]
                }
            else:
                best = self.names[int(each.argmax())]
                said = {"label": best, "probability": named[best]}
            ends = {}
            if text is not None and parts[0][0] >= 0:
                pairs = zip(("head", "tail"), parts, strict=True)
                ends = {name: text[start:end] for name, (start, end) in pairs}
            rows.append({**said, "probabilities": named, **ends})
        return rows


@dataclasses.dataclass(frozen=True)
class Extracts:
    """Answers out of the modality `text`, or none where that leads by more than `margin`."""

    text: str
    unanswerable: bool = False
    margin: float = 0.0

    def empty(self, score: Any, none: Any) -> Any:
        """Whether no answer is given, by the logarithms of the best one's probability and that of
        none; arrays of either kind.
        """
        return none - score > self.margin if self.unanswerable else score < -1e8

    def decode(self, predictions: Predictions, texts: RowTexts | None = None) -> Rows:
        """`{"answer", "start", "end", "probability", "answers": [...]}`, likeliest first.

        `answer` is "" and `start`, `end` None where there is no answer; `no_answer` is the
        probability of that, where some training rows have none. Without the texts, no `answer`.
        """
        spans, scores = np.asarray(predictions["spans"]), np.asarray(predictions["scores"])
        none = np.asarray(predictions["none"], np.float64)
        contexts = texts_of(texts, self.text, len(spans))
        if len(contexts) != len(spans):
            raise DataError(540, f"{len(contexts)} texts of {len(spans)} rows")
        rows = []
        for row, text in enumerate(contexts):
            listed = [
                _answer(int(start), int(end), float(np.exp(score)), text)
                for (start, end), score in zip(spans[row], scores[row], strict=True)
                if start >= 0
            ]
            chance = float(np.exp(none[row]))
            empty = not listed or bool(self.empty(scores[row, 0], none[row]))
            nothing = _answer(None, None, chance, text)
            chosen = nothing if empty else listed[0]
            more = {"no_answer": chance} if self.unanswerable else {}
            rows.append({**chosen, **more, "answers": listed})
        return rows


def _answer(
    start: int | None, end: int | None, probability: float, text: str | None
) -> dict[str, Any]:
    words = {} if text is None else {"answer": "" if start is None else text[start:end]}
    return {**words, "start": start, "end": end, "probability": probability}

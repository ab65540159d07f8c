"""How much worse a model does when a column's values change places among rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from mmjax.core.types import Batch
from mmjax.core.typing import Float
from mmjax.explain.base import Found, Method
from mmjax.explain.scores import Choice
from mmjax.explain.subject import Subject


@dataclasses.dataclass(frozen=True)
class Permutation(Method):
    """Permutation importance (Breiman 2001; Fisher et al. 2019) of columns and of modalities.

    Over all rows that are asked about: what the mean score of what the model said, and the task's
    first metric where the rows are labelled, lose when values are permuted among rows. The mean and
    the deviation of `repeats` permutations.
    """

    repeats: int = 5
    seed: int = 0

    about: ClassVar[str] = (
        "what the metric, and the score of what was said, lose when the values of a column change "
        "places among rows"
    )

    def refuses(self, subject: Subject, batch: Batch) -> str | None:
        return None

    def __call__(self, subject: Subject, batch: Batch, choice: Choice) -> Found:
        return Found()

    def over(self, subject: Subject, batches: Sequence[Batch], labelled: bool) -> dict[str, Any]:
        rows = sum(int(np.asarray(batch.row_mask).sum()) for batch in batches)
        if rows < 2:
            return {}
        choices = [subject.chosen(batch)[0] for batch in batches]
        before = self._asked(subject, batches, choices, labelled)
        found = {}
        for name, place in self._columns(subject, batches[0]):
            losses: dict[str, list[float]] = {}
            for repeat in range(self.repeats):
                rng = np.random.default_rng([self.seed, repeat])
                changed = _permuted(batches, name, place, rng)
                for key, value in self._asked(subject, changed, choices, labelled).items():
                    losses.setdefault(key, []).append(before[key] - value)
            called = name if place is None else subject.columns[name][place]
            found[called] = {
                key: {"mean": float(np.mean(v)), "deviation": float(np.std(v))}
                for key, v in losses.items()
            }
        return {"rows": rows, "before": before, "lost": found}

    def _columns(self, subject: Subject, batch: Batch) -> list[tuple[str, int | None]]:
        wanted: list[tuple[str, int | None]] = [(name, None) for name in subject.modalities]
        for name, columns in subject.columns.items():
            if subject.kinds[name] == "table" and name in subject.modalities and len(columns) > 1:
                wanted += [(name, place) for place in range(len(columns))]
        return wanted

    def _asked(
        self, subject: Subject, batches: Sequence[Batch], choices: Sequence[Choice], labelled: bool
    ) -> dict[str, float]:
        scores = [
            subject.scored(batch, choice)[np.asarray(batch.row_mask)]
            for batch, choice in zip(batches, choices, strict=True)
        ]
        found = {"score": float(np.concatenate(scores).mean())}
        # The metrics are of the whole, the score of what is explained.
        task = subject.module.task
        headline = tuple(getattr(task, "headline", ()))
        if labelled and headline:
            sums: dict[str, np.ndarray] = {}
            for batch in batches:
                for key, value in subject.call("sums", _sums_of(subject), batch).items():
                    sums[key] = sums.get(key, 0.0) + np.asarray(value, np.float64)
            metrics: Mapping[str, float] = task.compute(sums) if sums else {}
            if headline[0] in metrics:
                found[headline[0]] = float(metrics[headline[0]])
        return found


def _sums_of(subject: Subject) -> Any:
    def sums(variables: Any, batch: Batch) -> Any:
        whole = subject.look(variables, batch).whole
        return {} if whole is None else whole.metrics

    return sums


def _permuted(
    batches: Sequence[Batch], name: str, place: int | None, rng: np.random.Generator
) -> list[Batch]:
    """The batches with a modality, or a column of it, of the same rows in another order."""
    masks = [np.asarray(batch.row_mask) for batch in batches]
    order = rng.permutation(int(sum(mask.sum() for mask in masks)))

    def mixed(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        whole = np.concatenate([a[m] for a, m in zip(arrays, masks, strict=True)])[order]
        parts, start = [], 0
        for array, mask in zip(arrays, masks, strict=True):
            part = np.array(array)
            part[mask] = whole[start : start + int(mask.sum())]
            start += int(mask.sum())
            parts.append(part)
        return parts

    fields = {
        field: mixed(_equal([np.asarray(b.inputs[name][field]) for b in batches]))
        for field in batches[0].inputs[name]
    }
    present = mixed([np.asarray(batch.present[name]) for batch in batches])
    found = []
    for index, batch in enumerate(batches):
        own = dict(batch.inputs[name])
        changed = {field: arrays[index] for field, arrays in fields.items()}
        if place is not None:
            changed = _column(own, changed, place)
        here = batch.present if place is not None else {**batch.present, name: present[index]}
        found.append(
            dataclasses.replace(batch, inputs={**batch.inputs, name: changed}, present=here)
        )
    return found


def _equal(arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Arrays padded with zeros to the longest of them along their second axis."""
    if arrays[0].ndim < 2:
        return arrays
    longest = max(array.shape[1] for array in arrays)
    return [
        np.pad(a, [(0, 0), (0, longest - a.shape[1]), *[(0, 0)] * (a.ndim - 2)]) for a in arrays
    ]


def _column(
    own: Mapping[str, Any], changed: Mapping[str, np.ndarray], place: int
) -> dict[str, Float[np.ndarray, "b c"]]:
    """One column of `changed` among those of `own`: numbers first, then categories."""
    numbers = np.asarray(own["numbers"]).shape[1] if "numbers" in own else 0
    fields = ("numbers", "number_mask") if place < numbers else ("categories",)
    at = place if place < numbers else place - numbers
    found = {field: np.array(values) for field, values in own.items()}
    for field in fields:
        if field in found:
            found[field][:, at] = changed[field][:, at]
    return found

"""What a pretraining run tells of its batches: to the trainer what a task is."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from mmjax.core.typing import Float, Int
from mmjax.metrics.retrieval import retrieval_of_embeddings
from mmjax.objectives.base import THING, pairs

_NEAR = 0.01
"""How close to chance a loss counts as chance, as a share of it."""

_EQUAL = 1e-4
"""How much the numbers of one vector may differ, read twice in other batches."""


@dataclasses.dataclass(frozen=True)
class Results:
    """Metrics of several objectives: means of their sums, and retrieval in the joint space."""

    objectives: tuple[str, ...]
    modalities: tuple[str, ...]
    """Those that have vectors in the joint space; none if no objective needs it."""

    needs_texts: ClassVar[bool] = False
    """Whether `evaluate` also takes the texts of rows; the joint space is judged by vectors."""

    losses_of_chance: Mapping[str, float] = dataclasses.field(default_factory=dict)
    """Of each objective that has one, the loss of a model that tells nothing apart."""

    def stuck(self, metrics: Mapping[str, float]) -> str:
        """What to tell about losses that nothing enters, or that are still those of chance.

        Empty if there is none.
        """
        for name, value in metrics.items():
            if name.endswith("loss") and math.isnan(value):
                return (
                    f"nothing counts for '{name}': do rows have all modalities that it compares "
                    "(mmjax describe on the data), and its targets?"
                )
        for name, chance in self.losses_of_chance.items():
            loss = metrics.get(f"{name}/loss")
            if loss is not None and abs(loss - chance) < _NEAR * chance:
                return (
                    f"the loss of '{name}' sits at {loss:.3f}, which is that of chance "
                    f"({chance:.3f}; InfoNCE's is ln of the batch): are the pairs right (same row, "
                    "both sides), is the learning rate too high or its warm-up too short, do the "
                    "encoders get gradients?"
                )
        return ""

    @property
    def headline(self) -> tuple[str, ...]:
        several = [f"{name}/loss" for name in self.objectives if len(self.objectives) > 1]
        return (*several, *(("recall@1", "recall@10") if len(self.modalities) > 1 else ()))

    @property
    def logged(self) -> tuple[str, ...]:
        """What is written over time: the headline, and what each objective tells of itself."""
        own = ("accuracy", "perplexity", "logit_scale")
        return (*self.headline, *(f"{name}/{one}" for name in self.objectives for one in own))

    def compute(self, sums: Mapping[str, Any]) -> dict[str, float]:
        """`objective/metric` of sums `objective/metric_sum` over their `objective/count`.

        A sum `x_y_sum` is divided by `x_count` where there is one, a `perplexity` comes with the
        loss of every objective that counts tokens (`tokens` in its sums).
        """
        found: dict[str, float] = {}
        for name in self.objectives:
            own = {
                k.partition("/")[2]: float(np.asarray(v))
                for k, v in sums.items()
                if k.startswith(f"{name}/")
            }
            for key, value in own.items():
                if not key.endswith("_sum"):
                    continue
                metric = key.removesuffix("_sum")
                count = own.get(f"{metric.rpartition('_')[0]}_count", own["count"])
                found[f"{name}/{metric}"] = value / count if count else float("nan")
            if own.get("tokens"):
                found[f"{name}/perplexity"] = float(np.exp(found[f"{name}/loss"]))
        return found

    def evaluate(
        self, predictions: Mapping[str, np.ndarray], targets: Mapping[str, np.ndarray]
    ) -> dict[str, float]:
        """Retrieval among all rows that have both modalities, each pair both ways.

        `text_to_image/recall@10` and so on for several pairs; without a prefix, the mean over all
        pairs and both ways. With a target "thing", all rows of a thing are right answers, and those
        of its vectors that are the same (its picture, once a caption) are one.
        """
        found: dict[str, float] = {}
        means: dict[str, list[float]] = {}
        several = pairs(self.modalities)
        for a, b in several:
            sides = sides_of(a, b, predictions, targets)
            if sides is None:
                continue
            ours, theirs = sides
            measured = retrieval_of_embeddings(
                ours.vectors,
                theirs.vectors,
                a_ids=ours.things,
                b_ids=theirs.things,
                names=(a, b),
            )
            for key, value in measured.items():
                if "/" in key:
                    found[key] = value
                else:
                    means.setdefault(key, []).append(value)
                    if len(several) > 1:
                        found[f"{a}_{b}/{key}"] = value
        return {**{key: float(np.mean(values)) for key, values in means.items()}, **found}

    def decode(
        self,
        predictions: Mapping[str, np.ndarray],
        texts: Mapping[str, Sequence[str | None]] | None = None,
    ) -> list[dict[str, Any]]:
        """Each row's vectors in the joint space, by modality."""
        rows = len(next(iter(predictions.values()))) if predictions else 0
        return [
            {name: predictions[name][row].tolist() for name in self.modalities}
            for row in range(rows)
        ]


@dataclasses.dataclass(frozen=True, eq=False)
class Side:
    """What is asked, and found, of one modality: different vectors of rows that have both."""

    rows: Int[np.ndarray, "n"]
    """Where they stand among the predictions."""
    vectors: Float[np.ndarray, "n e"]
    things: Int[np.ndarray, "n"]
    """What a vector is of; equal ones are right answers to each other."""


def sides_of(
    first: str,
    second: str,
    predictions: Mapping[str, np.ndarray],
    targets: Mapping[str, np.ndarray],
) -> tuple[Side, Side] | None:
    """Both sides of a pair of modalities; None if no row has both."""
    ours, theirs = (np.asarray(predictions[name], np.float32) for name in (first, second))
    both = np.flatnonzero(ours.any(axis=1) & theirs.any(axis=1))
    if not len(both):
        return None
    things = np.asarray(targets[THING])[both] if THING in targets else both
    kept = [_different(one[both], things) for one in (ours, theirs)]
    one, other = (
        Side(both[at], vectors[both[at]], things[at])
        for at, vectors in zip(kept, (ours, theirs), strict=True)
    )
    return one, other


def _different(
    vectors: Float[np.ndarray, "n e"], things: Int[np.ndarray, "n"]
) -> Int[np.ndarray, "m"]:
    """The rows without those whose vector an earlier row of the same thing has."""
    order = np.argsort(things, kind="stable")
    starts = np.flatnonzero(np.diff(things[order], prepend=things[order[:1]] - 1))
    kept = []
    for rows in np.split(order, starts[1:]):
        own: list[int] = []
        for row in rows.tolist():
            if not any(np.abs(vectors[row] - vectors[one]).max() < _EQUAL for one in own):
                own.append(row)
        kept += own
    return np.sort(np.array(kept, np.int64))

"""What the report of a pretraining run shows: its objectives, and who finds whom."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from mmjax.api import showing
from mmjax.api.run import Run
from mmjax.core.typing import Int
from mmjax.data.dataset import Dataset
from mmjax.metrics import bootstrap_interval, bootstrap_interval_of_mean
from mmjax.metrics.ranks import ranks_of_relevant
from mmjax.metrics.retrieval import unit
from mmjax.objectives.base import pairs
from mmjax.objectives.results import Side, sides_of
from mmjax.report import Hit, Query, Seen, Way
from mmjax.train.evaluate import Evaluation

_QUERIES, _FEWER, _MANY = 8, 4, 4
"""Queries a way, and how many of each where there are more ways than `_MANY`."""
_FOUND = 5
_HEADLINE = 10


def objectives(
    run: Run, evaluation: Evaluation, dataset: Dataset, split: str
) -> dict[str, dict[str, Any]]:
    """Of each objective its kind, weight and metrics, and what a baseline gets where it has one."""
    found: dict[str, dict[str, Any]] = {}
    for name, spec in run.config.objectives.items():
        module = run.module.objectives[name]
        own = {
            key.partition("/")[2]: value
            for key, value in evaluation.metrics.items()
            if key.startswith(f"{name}/")
        }
        parts = [key for key in own if key.endswith("_loss")]
        if len(parts) == 1:  # of the only pair
            del own[parts[0]]
        if own.get("logit_scale"):
            own["temperature"] = 1.0 / own.pop("logit_scale")
        if hasattr(module, "baseline") and {"train", split} <= dataset.splits.keys():
            known = module.baseline(dataset, split)
            own |= {f"{key}_of_baseline": value for key, value in known.items() if key in own}
        found[name] = {"kind": spec.name, "weight": float(module.weight), **own}
    return found


def ways(run: Run, evaluation: Evaluation) -> tuple[list[Way], tuple[float, float] | None]:
    """Each way of each pair, and the 95 % interval of recall@10 over all of them.

    The latter, over rows, is None unless every row asks once in each modality.
    """
    found, hits = [], []
    for a, b, ours, theirs in _directions(run, evaluation):
        ranks = _ranks(ours, theirs)
        start = f"{a}_to_{b}/"
        own = {
            key.removeprefix(start): value
            for key, value in evaluation.metrics.items()
            if key.startswith(start)
        }
        intervals = {
            key: bootstrap_interval(ranks <= int(key.partition("@")[2]))
            for key in own
            if key.startswith("recall@")
        }
        found.append(Way(f"{a} → {b}", len(ours.rows), len(theirs.rows), own, intervals))
        hits.append((ranks <= _HEADLINE).astype(np.float64))
    if not found or {len(one) for one in hits} != {len(evaluation.rows)}:
        return found, None
    return found, bootstrap_interval_of_mean(np.mean(hits, axis=0))


def queries(run: Run, evaluation: Evaluation, dataset: Dataset, *, seed: int = 0) -> list[Query]:
    """Some rows and the five nearest to each: half found at once, half not, drawn at random."""
    every = list(_directions(run, evaluation))
    count = _QUERIES if len(every) <= _MANY else _FEWER
    found = []
    for a, b, ours, theirs in every:
        ranks = _ranks(ours, theirs)
        order = np.random.default_rng(seed).permutation(len(ranks))
        right, wrong = order[ranks[order] == 1], order[ranks[order] > 1]
        half = count // 2
        some = [*right[: max(half, count - len(wrong))], *wrong[: max(half, count - len(right))]]
        for at in some:
            similarity = unit(ours.vectors[at : at + 1]) @ unit(theirs.vectors).T
            hits = [
                Hit(
                    seen(run, dataset, evaluation.rows[theirs.rows[i]], b),
                    float(similarity[0, i]),
                    bool(theirs.things[i] == ours.things[at]),
                )
                for i in np.argsort(-similarity[0], kind="stable")[:_FOUND]
            ]
            asked = seen(run, dataset, evaluation.rows[ours.rows[at]], a)
            found.append(Query(f"{a} → {b}", asked, hits, int(ranks[at])))
    return found


def seen(run: Run, dataset: Dataset, row: int, modality: str) -> Seen:
    """A row's modality as a person sees it."""
    fields, images = showing.of_modality(run, dataset, int(row), modality)
    return Seen(int(row), next(iter(fields.values()), ""), next(iter(images.values()), None))


def _directions(run: Run, evaluation: Evaluation) -> Iterator[tuple[str, str, Side, Side]]:
    """Both ways of every pair: names, what asks, and what is found."""
    for first, second in pairs(run.module.task.modalities):
        sides = sides_of(first, second, evaluation.predictions, evaluation.targets)
        if sides is not None:
            ours, theirs = sides
            yield first, second, ours, theirs
            yield second, first, theirs, ours


def _ranks(ours: Side, theirs: Side) -> Int[np.ndarray, "n"]:
    """The rank of each query's first right answer."""
    asked, answers = unit(ours.vectors), unit(theirs.vectors)
    found = ranks_of_relevant(
        lambda part: asked[part] @ answers.T,
        lambda part: ours.things[part, None] == theirs.things,
        len(asked),
        len(answers),
    )
    return found.first()

"""How well a run does with every subset of its modalities, and how much each of them adds."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mmjax.api.evaluating import study_into
from mmjax.api.run import Run
from mmjax.core.errors import ConfigError
from mmjax.data.dataset import ALL
from mmjax.data.degraded import MISSING, degrade
from mmjax.metrics.shapley import shapley_values, subsets
from mmjax.report import subsets as report

MOST = 8
"""Modalities whose subsets are all measured."""

Told = Callable[[int, int], None]
"""Called with the evaluations that are done, and the rows of the last one."""


@dataclasses.dataclass(frozen=True)
class Subsets:
    """The headline metrics of a run's task with each subset of its modalities left."""

    split: str
    rows: int
    modalities: tuple[str, ...]
    metrics: tuple[str, ...]
    scores: Mapping[tuple[str, ...], Mapping[str, float]]
    """By subset, from the empty one to the whole."""

    def shapley(self, metric: str) -> dict[str, float]:
        """What each modality adds to the metric: exact, and together the whole's minus nothing's.

        Of a metric whose score is not defined for a subset, NaN.
        """
        values = {one: scores[metric] for one, scores in self.scores.items()}
        return shapley_values(values, self.modalities)

    def table(self, metric: str) -> dict[str, dict[str, float]]:
        """Of each modality `alone` (its score), `lost` (what is gone without it) and `shapley`."""
        whole = self.scores[self.modalities][metric]
        added = self.shapley(metric)
        found = {}
        for name in self.modalities:
            rest = tuple(one for one in self.modalities if one != name)
            found[name] = {
                "alone": self.scores[(name,)][metric],
                "lost": whole - self.scores[rest][metric],
                "shapley": added[name],
            }
        return found

    def as_json(self) -> dict[str, Any]:
        """Everything, with null for what is not defined."""

        def known(values: Mapping[str, float]) -> dict[str, float | None]:
            return {k: v if math.isfinite(v) else None for k, v in values.items()}

        return {
            "split": self.split,
            "rows": self.rows,
            "modalities": list(self.modalities),
            "subsets": [
                {"modalities": list(one), "metrics": known(scores)}
                for one, scores in self.scores.items()
            ],
            "modality": {
                metric: {name: known(one) for name, one in self.table(metric).items()}
                for metric in self.metrics
            },
        }


def all_subsets(
    run: Run,
    data: Any = None,
    *,
    split: str | None = None,
    root: str | None = None,
    told: Told | None = None,
) -> Subsets:
    """The headline metrics on the same rows with every subset of the modalities, also with none.

    What is not in the subset is absent in every row, as a row without it is, and shapes stay, so
    that all subsets are one compiled program. A row that lacks a modality itself lacks it in all of
    them. Raises ConfigError for a run of objectives, of one modality, and of more than `MOST`.
    """
    names = tuple(run.config.model.encoders)
    if run.config.objectives or not 2 <= len(names) <= MOST:
        what = "pretraining objectives" if run.config.objectives else f"{len(names)} modalities"
        raise ConfigError(
            109,
            f"'{run.folder.path}' is a run of {what}",
            where="--modalities all-subsets",
            fix=f"a run of a task, of 2 to {MOST} modalities",
        )
    dataset = run.dataset(data, root=root, labels=True)
    part = split or ("test" if data is None else ALL)
    rows = len(dataset.rows(part))
    found: dict[tuple[str, ...], dict[str, float]] = {}
    for one in subsets(names):
        gone = {name: MISSING for name in names if name not in one}
        left = degrade(dataset, gone, 1.0, seed=0) if gone else dataset
        found[one] = run.evaluate_dataset(left, part).metrics
        if told is not None:
            told(len(found), rows)
    metrics = tuple(name for name in run.module.task.headline if name in found[names])
    nothing = float("nan")
    scores = {
        one: {metric: values.get(metric, nothing) for metric in metrics}
        for one, values in found.items()
    }
    return Subsets(part, rows, names, metrics, scores)


def all_subsets_into(
    run: Run,
    data: Any = None,
    *,
    split: str | None = None,
    out: str | os.PathLike | None = None,
    **options: Any,
) -> tuple[Subsets, Path]:
    """`all_subsets`, written to `modalities.json` and the like in a folder, which it returns, as
    `study_into` says. Options are those of `all_subsets`.
    """
    found = all_subsets(run, data, split=split, **options)
    values = found.as_json()
    pictures = {metric: report.draw(values, metric) for metric in found.metrics}
    root = options.get("root")
    folder = study_into(
        run, data, "modalities", values, pictures, split=found.split, root=root, out=out
    )
    return found, folder

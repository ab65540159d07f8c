"""From the records of metrics.jsonl to the few series worth a look."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

_MOST_POINTS = 500
_MOST_SERIES = 4
_OF_OBJECTIVES = {
    "Loss": "loss",
    "Accuracy": "accuracy",
    "Perplexity": "perplexity",
    "Temperature": "logit_scale",
}
FIRST = (
    *("accuracy", "macro_f1", "balanced_accuracy", "auroc", "weighted_f1", "top5_accuracy"),
    *("micro_f1", "map", "r2", "mae", "quadratic_kappa"),
)
"""The metrics that are shown before others."""


@dataclasses.dataclass(frozen=True)
class Panel:
    """One pair of axes: a title, and `{name: (steps, values)}`; `noisy` asks for a running mean."""

    title: str
    noisy: bool
    series: Mapping[str, tuple[np.ndarray, np.ndarray]]


def panels(records: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """Losses, those of each objective, validation metrics, learning rate: what the records hold.

    A loss is a name whose last part is `loss` or ends in `_loss`; a validation metric any other
    name of the form `validation/<metric>` (per-class metrics have a further part). Of an objective,
    `<part>/<objective>/<metric>`, there is a panel for each of its loss, accuracy and perplexity,
    and for the temperature that its scale of similarities is the inverse of.
    """
    names = dict.fromkeys(name for record in records for name in record if name != "step")
    last = {name: name.rpartition("/")[2] for name in names}
    own = _of_objectives(records, names)
    losses = [n for n in names if last[n] == "loss" or last[n].endswith("_loss")]
    losses = [n for n in losses if n.count("/") < 2]
    scores = [n for n in names if n == f"validation/{last[n]}" and last[n] not in ("ece",)]
    scores = [n for n in scores if n not in losses]
    scores.sort(key=lambda n: FIRST.index(last[n]) if last[n] in FIRST else len(FIRST))
    rates = [n for n in names if last[n] in ("learning_rate", "lr")]
    found = []
    for title, chosen in (("Loss", losses), ("Validation", scores), ("Learning rate", rates)):
        series = {
            n.removeprefix("validation/" if chosen is scores else ""): _series(records, n)
            for n in chosen[:_MOST_SERIES]
        }
        series = {name: (steps, values) for name, (steps, values) in series.items() if len(steps)}
        if series:
            found.append(Panel(title, chosen is losses, series))
        if chosen is losses:
            found += own
    return found


def _of_objectives(records: Sequence[Mapping[str, Any]], names: Iterable[str]) -> list[Panel]:
    split = [name.split("/") for name in names]
    wanted = {
        (title, objective, metric): None
        for title, metric in _OF_OBJECTIVES.items()
        for _, objective, found in (parts for parts in split if len(parts) == 3)
        if found == metric
    }
    panels = []
    for title, objective, metric in wanted:
        series = {}
        for part in ("train", "validation"):
            steps, values = _series(records, f"{part}/{objective}/{metric}")
            if len(steps):
                series[part] = steps, 1.0 / values if metric == "logit_scale" else values
        if series:
            panels.append(Panel(f"{title} of {objective}", metric == "loss", series))
    return panels


def told(panel: Panel) -> str:
    """What a panel shows in words: where each of its series begins and ends."""
    lines = [f"{n} from {v[0]:.3g} to {v[-1]:.3g}" for n, (_, v) in panel.series.items()]
    return f"{panel.title} over steps: {', '.join(lines)}"


def smooth(values: np.ndarray) -> np.ndarray | None:
    """A running mean over a twentieth of a long series; None where there is nothing to smooth."""
    width = len(values) // 20
    if width < 3:
        return None
    kernel = np.ones(width)
    return np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")


def _series(records: Sequence[Mapping[str, Any]], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Finite values by step, averaged in runs where there are more than the eye tells apart."""
    kept = [
        (record["step"], record[name])
        for record in records
        if isinstance(record.get(name), int | float) and math.isfinite(record[name])
    ]
    points = np.asarray(kept, np.float64).reshape(-1, 2)
    if len(points) > _MOST_POINTS:
        points = np.stack([part.mean(axis=0) for part in np.array_split(points, _MOST_POINTS)])
    return points[:, 0], points[:, 1]

"""How a run's scores hold as its inputs are made worse, step by step."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmjax.api.evaluating import study_into
from mmjax.api.run import Run
from mmjax.core.errors import ConfigError, nearest
from mmjax.data.dataset import ALL, Dataset
from mmjax.data.degraded import MISSING, degrade, kinds_of
from mmjax.metrics.robustness import area, effective_robustness, relative_robustness
from mmjax.report import robustness as report
from mmjax.train.selection import mode_of

LEVELS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
TOGETHER = "all"
"""The curve of all modalities made worse at once, each in the first way of its kind."""

Told = Callable[[int, int], None]
"""Called with the evaluations that are done, and the rows of the last one."""


@dataclasses.dataclass(frozen=True)
class Robustness:
    """Scores at each of `levels`, which begin with 0, by `<modality>/<way>` and metric."""

    split: str
    rows: int
    seed: int
    levels: tuple[float, ...]
    metrics: tuple[str, ...]
    curves: Mapping[str, Mapping[str, tuple[float, ...]]]
    reference: str = ""
    """The run that `reference_curves` are of."""
    reference_curves: Mapping[str, Mapping[str, tuple[float, ...]]] = dataclasses.field(
        default_factory=dict
    )

    def summary(self, name: str, metric: str) -> dict[str, float]:
        """`area`, `relative_robustness`, and `effective_robustness` if there is a reference."""
        scores, lower = self.curves[name][metric], mode_of(metric) == "min"
        found = {
            "area": area(self.levels, scores),
            "relative_robustness": relative_robustness(self.levels, scores, lower_is_better=lower),
        }
        if name in self.reference_curves:
            found["effective_robustness"] = effective_robustness(
                self.levels,
                scores,
                self.reference_curves[name][metric],
                lower_is_better=lower,
            )
        return found

    def as_json(self) -> dict[str, Any]:
        """Everything, with null for what is not defined."""

        def known(values: Sequence[float]) -> list[float | None]:
            return [value if math.isfinite(value) else None for value in values]

        def of(name: str, metric: str) -> dict[str, Any]:
            found: dict[str, Any] = {"scores": known(self.curves[name][metric])}
            if name in self.reference_curves:
                found["reference"] = known(self.reference_curves[name][metric])
            numbers = self.summary(name, metric).items()
            return found | {key: value if math.isfinite(value) else None for key, value in numbers}

        return {
            "split": self.split,
            "rows": self.rows,
            "seed": self.seed,
            "levels": list(self.levels),
            **({"reference": self.reference} if self.reference else {}),
            "curves": {
                name: {metric: of(name, metric) for metric in self.metrics} for name in self.curves
            },
        }


def conditions(run: Run, wanted: Sequence[str] = ()) -> dict[str, dict[str, str]]:
    """What is made worse for each curve: `{"image/blur": {"image": "blur"}, ...}`.

    `wanted` are modalities, each in every way of its kind, or `modality/way`; without any all that
    the model has, and, of several modalities, all of them together. Raises ConfigError for a
    name that is neither.
    """
    ways = {
        name: kinds_of(run.config.data.modalities[name].name) for name in run.config.model.encoders
    }
    found: dict[str, dict[str, str]] = {}
    known = [*ways, *(f"{name}/{way}" for name, all_ in ways.items() for way in all_), TOGETHER]
    for one in wanted or (*ways, *([TOGETHER] if len(ways) > 1 else [])):
        if one not in known:
            raise ConfigError(100, f"nothing called '{one}' to make worse", fix=nearest(one, known))
        name, _, way = one.partition("/")
        if one == TOGETHER:
            found[one] = {modality: all_[0] for modality, all_ in ways.items()}
        else:
            found |= {f"{name}/{each}": {name: each} for each in ([way] if way else ways[name])}
    return found


def severities(levels: Sequence[float]) -> tuple[float, ...]:
    """The levels in order, 0 first. Raises ConfigError unless they lie in 0 to 1."""
    at = tuple(sorted({0.0, *map(float, levels)}))
    if len(at) < 2 or not all(0 <= level <= 1 for level in at):
        raise ConfigError(106, f"levels = {list(levels)}", fix="numbers above 0, to 1")
    return at


def evaluations(
    chosen: Mapping[str, Mapping[str, str]], levels: Sequence[float], runs: int = 1
) -> int:
    """How many passes over the rows it takes."""
    return runs * (1 + len(chosen) * (len(severities(levels)) - 1))


def degraded(
    run: Run,
    data: Any = None,
    *,
    split: str | None = None,
    root: str | None = None,
    wanted: Sequence[str] = (),
    levels: Sequence[float] = LEVELS,
    seed: int = 0,
    reference: Run | None = None,
    told: Told | None = None,
) -> Robustness:
    """The headline metrics of a run's task as its inputs are made worse.

    Each condition (`conditions`) is measured on the same rows at each level from 0, the inputs as
    they are, to 1, where what is taken away is gone. What is done to a row depends on `seed` and
    the row, and more of it is done at a higher level. Shapes stay, so that nothing is compiled
    anew. With `reference`, another run on the same rows, the curves are measured of it too; a
    modality that it does not have leaves it as it is. `told` hears of each of the `evaluations`
    that is done. Raises ConfigError for a run of objectives, and for levels outside [0, 1].
    """
    if run.config.objectives:
        raise ConfigError(
            109,
            f"'{run.folder.path}' is a run of pretraining objectives, which have no headline",
            where="--degrade",
            fix="a run of a task",
        )
    at = severities(levels)
    chosen = conditions(run, wanted)
    part = split or ("test" if data is None else ALL)
    runs = [run] if reference is None else [run, reference]
    measured, done = [], 0
    for one in runs:
        dataset = one.dataset(data, root=root, labels=True)
        score = _Scores(one, dataset, part, seed, start=done, told=told)
        curves = score.curves(chosen, at)
        measured.append((score, curves))
        done = score.done
    first, curves = measured[0]
    metrics = tuple(name for name in run.module.task.headline if name in first.clean)
    return Robustness(
        split=part,
        rows=first.rows,
        seed=seed,
        levels=at,
        metrics=metrics,
        curves=_picked(curves, metrics),
        reference="" if reference is None else str(reference.folder.path),
        reference_curves={} if reference is None else _picked(measured[1][1], metrics),
    )


def _picked(
    curves: Mapping[str, Sequence[Mapping[str, float]]], metrics: Sequence[str]
) -> dict[str, dict[str, tuple[float, ...]]]:
    nothing = float("nan")
    return {
        name: {metric: tuple(one.get(metric, nothing) for one in points) for metric in metrics}
        for name, points in curves.items()
    }


class _Scores:
    """The metrics of one run at every condition and level."""

    def __init__(
        self,
        run: Run,
        dataset: Dataset,
        split: str,
        seed: int,
        *,
        start: int,
        told: Told | None,
    ):
        self._run, self._dataset, self._split, self._seed = run, dataset, split, seed
        self.done, self._told = start, told
        self.rows = len(dataset.rows(split))
        self.clean = self._measure(dataset)

    def _measure(self, dataset: Dataset) -> dict[str, float]:
        found = self._run.evaluate_dataset(dataset, self._split).metrics
        self._tell()
        return found

    def _tell(self) -> None:
        self.done += 1
        if self._told is not None:
            self._told(self.done, self.rows)

    def curves(
        self, chosen: Mapping[str, Mapping[str, str]], levels: Sequence[float]
    ) -> dict[str, list[dict[str, float]]]:
        found: dict[str, list[dict[str, float]]] = {}
        for name, ways in chosen.items():
            own = {modality: way for modality, way in ways.items() if self._has(modality, way)}
            found[name] = [self.clean]
            for level in levels[1:]:
                if not own:
                    found[name].append(self.clean)
                    self._tell()
                    continue
                worse = degrade(self._dataset, own, level, seed=self._seed)
                found[name].append(self._measure(worse))
        return found

    def _has(self, modality: str, way: str) -> bool:
        spec = self._run.config.data.modalities.get(modality)
        return spec is not None and way in (*kinds_of(spec.name), MISSING)


def degrade_into(
    run: Run,
    data: Any = None,
    *,
    split: str | None = None,
    out: str | os.PathLike | None = None,
    **options: Any,
) -> tuple[Robustness, Path]:
    """`degraded`, written to `robustness.json` and the like in a folder, which it returns, as
    `study_into` says. Options are those of `degraded`.
    """
    found = degraded(run, data, split=split, **options)
    values = found.as_json()
    pictures = {}
    for metric in found.metrics:
        scores = {name: one[metric]["scores"] for name, one in values["curves"].items()}
        pictures[metric] = report.draw(found.levels, metric, scores)
    root = options.get("root")
    folder = study_into(
        run, data, "robustness", values, pictures, split=found.split, root=root, out=out
    )
    return found, folder

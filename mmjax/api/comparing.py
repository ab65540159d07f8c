"""Runs against each other on the very same rows: differences, their intervals, paired tests."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.api.measured import Measured
from mmjax.api.run import Run, load_run
from mmjax.core.errors import ConfigError, DataError, nearest
from mmjax.core.files import write_json
from mmjax.data.dataset import ALL
from mmjax.metrics.paired import Difference, McNemar, difference, draws, holm, mcnemar
from mmjax.report.comparisons import Row, comparison_page
from mmjax.report.pages import write_page

RESAMPLES = 1000
Told = Callable[[int], None]
"""Called with the resamples that are done."""


@dataclasses.dataclass(frozen=True)
class Compared:
    """One run beside the first, in one metric."""

    metric: str
    run: str
    first: float
    """The first run's value."""
    value: float
    difference: Difference
    """The run's minus the first's."""
    p_adjusted: float
    """By Holm's method, over the runs that are compared with the first."""

    def as_json(self) -> dict[str, Any]:
        numbers = {
            "first": self.first,
            "value": self.value,
            "difference": self.difference.value,
            "low": self.difference.low,
            "high": self.difference.high,
            "p": self.difference.p,
            "p_adjusted": self.p_adjusted,
        }
        shown = {k: v if math.isfinite(v) else None for k, v in numbers.items()}
        return {"metric": self.metric, "run": self.run, **shown}


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Several runs on the same rows; the first is what the others are compared with."""

    runs: tuple[str, ...]
    split: str
    rows: int
    level: float
    resamples: int
    compared: tuple[Compared, ...]
    mcnemar: Mapping[str, McNemar]
    """By run, of whether each row was right, where the task's answers are right or wrong."""

    def as_json(self) -> dict[str, Any]:
        return {
            "runs": list(self.runs),
            "split": self.split,
            "rows": self.rows,
            "level": self.level,
            "resamples": self.resamples,
            "metrics": [one.as_json() for one in self.compared],
            "mcnemar": {name: dataclasses.asdict(one) for name, one in self.mcnemar.items()},
        }


def compare(
    *runs: Run | str | os.PathLike,
    data: Any = None,
    split: str | None = None,
    root: str | None = None,
    metrics: Sequence[str] = (),
    resamples: int = RESAMPLES,
    level: float = 0.95,
    seed: int = 0,
    told: Told | None = None,
) -> Comparison:
    """The first run against each other one, metric by metric, on the same rows by id.

    Rows are those of `split`: the test rows of the runs' own data, or of `data` all. Each metric of
    the task that needs every row (`metrics` names some) is measured again on `resamples` samples of
    the rows, the same for all runs; differences, percentile intervals and p follow
    (`mmjax.metrics.paired`). Answers that are right or wrong get McNemar's exact test as well.
    Nothing here knows of the spread over training seeds.

    Raises ConfigError for fewer than two runs and an unknown metric, DataError where rows or what
    is true of them differ.
    """
    if len(runs) < 2:
        raise ConfigError(106, f"{len(runs)} runs to compare", fix="name two or more")
    if resamples < 1 or not 0 < level < 1:
        raise ConfigError(
            106, f"resamples = {resamples}, level = {level}", fix="1 or more; between 0 and 1"
        )
    opened = [one if isinstance(one, Run) else load_run(one) for one in runs]
    part = split or ("test" if data is None else ALL)
    names = names_of(opened)
    measured = [
        Measured.of(name, run, data, part, root) for name, run in zip(names, opened, strict=True)
    ]
    return compare_measured(
        measured,
        split=part,
        metrics=metrics,
        resamples=resamples,
        level=level,
        seed=seed,
        told=told,
    )


def compare_measured(
    measured: Sequence[Measured],
    *,
    split: str,
    metrics: Sequence[str] = (),
    resamples: int = RESAMPLES,
    level: float = 0.95,
    seed: int = 0,
    told: Told | None = None,
) -> Comparison:
    """As `compare`, of answers that are there already."""
    names = [one.name for one in measured]
    for other in measured[1:]:
        _require_same(measured[0], other)
    wanted = _common(measured, metrics)
    values = np.array([[one.metrics[name] for name in wanted] for one in measured])
    sampled = np.empty((resamples, *values.shape))
    rows = len(measured[0].ids)
    for i, at in enumerate(draws(rows, resamples=resamples, seed=seed)):
        found = [one.measure(at) for one in measured]
        sampled[i] = [[one.get(name, np.nan) for name in wanted] for one in found]
        if told is not None:
            told(i + 1)
    compared: list[Compared] = []
    for j, metric in enumerate(wanted):
        apart = [
            difference(
                values[k, j] - values[0, j], sampled[:, k, j] - sampled[:, 0, j], level=level
            )
            for k in range(1, len(measured))
        ]
        adjusted = holm([one.p for one in apart])
        compared += [
            Compared(metric, names[k + 1], values[0, j], values[k + 1, j], one, p)
            for k, (one, p) in enumerate(zip(apart, adjusted, strict=True))
        ]
    right = {one.name: hits for one in measured if (hits := one.right()) is not None}
    tests = {}
    if len(right) == len(measured):
        tests = {name: mcnemar(right[names[0]], right[name]) for name in names[1:]}
    return Comparison(tuple(names), split, rows, level, resamples, tuple(compared), tests)


def names_of(runs: Sequence[Run]) -> list[str]:
    """The shortest ends of the runs' paths that tell them apart."""
    paths = [run.folder.path.resolve() for run in runs]
    if len(set(paths)) < len(paths):
        raise ConfigError(106, "a run is compared with itself", fix="name each run once")
    for length in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-length:]) for path in paths]
        if len(set(names)) == len(names):
            break
    return names


def _require_same(first: Measured, other: Measured) -> None:
    where = f"{first.name} and {other.name}"
    if not (first.named and other.named) and first.table != other.table:
        raise DataError(
            572,
            "the runs were trained on different data, whose rows have no ids",
            where=where,
            fix="give data.id_column, or compare them on --data",
        )
    for one in (first, other):
        if len(set(one.ids)) < len(one.ids):
            twice = next(a for a, b in zip(one.ids, one.ids[1:], strict=False) if a == b)
            raise DataError(
                572, f"the id '{twice}' is not one row's alone", where=one.name, fix="unique ids"
            )
    if first.ids != other.ids:
        mine, theirs = set(first.ids), set(other.ids)
        only = [sorted(mine - theirs), sorted(theirs - mine)]
        listed = "; ".join(
            f"{len(some)} only in {one.name} ({', '.join(some[:3])})"
            for one, some in zip((first, other), only, strict=True)
            if some
        )
        raise DataError(
            572,
            f"the runs were measured on different rows: {listed}",
            where=where,
            fix="use the same split and seed, or compare them on --data",
        )
    if first.truth != other.truth:
        pairs = zip(first.ids, first.truth, other.truth, strict=True)
        row, mine, theirs = next(one for one in pairs if one[1] != one[2])
        raise DataError(
            573,
            f"what is true of row '{row}' is {mine!r} in one run and {theirs!r} in the other",
            where=where,
            fix="compare runs with the same target",
        )


def _common(measured: Sequence[Measured], wanted: Sequence[str]) -> list[str]:
    """The metrics that all runs have; of those, the wanted ones."""
    common = [name for name in measured[0].metrics if all(name in m.metrics for m in measured)]
    for name in wanted:
        if name not in common:
            raise ConfigError(109, f"the runs have no metric '{name}'", fix=nearest(name, common))
    if not common:
        raise DataError(573, "the runs have no metric in common", fix="compare runs of one task")
    return list(dict.fromkeys(wanted)) or common


def compare_into(
    folder: str | os.PathLike, *runs: Run | str | os.PathLike, **options: Any
) -> tuple[Comparison, Path]:
    """`compare`, written to `comparison.json` and `report.html` in a folder; returns that."""
    found = compare(*runs, **options)
    path = Path(folder)
    write_json(path / "comparison.json", found.as_json())
    page = comparison_page(
        found.runs,
        lines_of(found),
        about=f"{found.rows:,} {found.split} rows, {found.resamples:,} paired resamples",
        level=found.level,
        tests=tests_of(found),
    )
    write_page(path / "report.html", page)
    return found, path


def lines_of(found: Comparison) -> list[Row]:
    """The lines of a page's table."""
    return [
        Row(
            one.metric,
            one.run,
            one.first,
            one.value,
            (one.difference.value, one.difference.low, one.difference.high),
            one.difference.p,
            one.p_adjusted,
        )
        for one in found.compared
    ]


def tests_of(found: Comparison) -> dict[str, tuple[int, int, float]]:
    """McNemar's test of each run, for a page."""
    return {name: (one.first_only, one.second_only, one.p) for name, one in found.mcnemar.items()}

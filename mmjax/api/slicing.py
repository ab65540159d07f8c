"""The rows of a split told apart by what they hold, and how well a run does on each kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmjax.api.run import Run
from mmjax.data.cells import key_of, shown
from mmjax.data.config import kind_of
from mmjax.data.dataset import Dataset
from mmjax.data.kinds import column_of, is_blank
from mmjax.data.numbers import parse_number
from mmjax.data.schema import split_column
from mmjax.data.table import Table
from mmjax.metrics import bootstrap_interval, bootstrap_interval_of_mean
from mmjax.report import Slice
from mmjax.report.html import LOWER_IS_BETTER
from mmjax.train.evaluate import Evaluation

_LEAST, _MOST = 5, 8
"""Rows of a slice, and slices of a column that are shown: the worst ones."""
_DISTINCT = 60
_MANY = 100_000


def slices(run: Run, evaluation: Evaluation, dataset: Dataset, metric: str) -> list[Slice]:
    """The metric on the rows of each value of each column with few values, on thirds by number and
    by length of text, and on rows with and without a modality; the worst slices of each column.

    Empty for a lazy table, and for a metric that the task does not measure of chosen rows.
    """
    if dataset.table.lazy or len(dataset.table) > _MANY or not len(evaluation.rows):
        return []
    per_row = row_scores(run.module.task, evaluation, metric)
    found = []
    for column, names in _tellings(run, evaluation, dataset).items():
        counts = Counter(name for name in names if name is not None)
        kept = [name for name, count in counts.items() if count >= _LEAST]
        if len(kept) < 2:
            continue
        own = []
        for name in kept:
            at = np.flatnonzero([one == name for one in names])
            value, interval = _measured(run.module.task, evaluation, metric, per_row, at)
            if value is not None:
                own.append(Slice(column, name, len(at), value, interval))
        own.sort(key=lambda one: -one.value if metric in LOWER_IS_BETTER else one.value)
        found += own[:_MOST]
    return found


def row_scores(task: Any, evaluation: Evaluation, metric: str) -> np.ndarray | None:
    """Numbers of rows whose mean is the metric; None for a metric that is no mean."""
    target = getattr(task, "target", "")
    truth = evaluation.targets.get(target)
    chances = evaluation.predictions.get("probabilities")
    if truth is None:
        return None
    if metric == "accuracy" and chances is not None and np.ndim(chances) == 2:
        return np.argmax(chances, axis=1) == truth if truth.ndim == 1 else None
    if metric == "mae" and "values" in evaluation.predictions and hasattr(task, "in_units"):
        off = np.abs(task.in_units(evaluation.predictions["values"]) - task.in_units(truth))
        return _mean_of_known(off) if off.ndim == 2 else None
    return None


def _mean_of_known(off: np.ndarray) -> np.ndarray:
    """The mean of what is known of each row, NaN of nothing."""
    known = np.isfinite(off)
    sums = np.where(known, off, 0.0).sum(axis=1)
    return np.where(known.any(axis=1), sums / np.maximum(known.sum(axis=1), 1), np.nan)


def _measured(
    task: Any,
    evaluation: Evaluation,
    metric: str,
    per_row: np.ndarray | None,
    at: np.ndarray,
) -> tuple[float | None, tuple[float, float] | None]:
    if per_row is not None:
        own = per_row[at]
        if own.dtype == bool:
            return float(own.mean()), bootstrap_interval(own)
        return float(own.mean()), bootstrap_interval_of_mean(own)
    if task.needs_texts:
        return None, None
    predictions = {k: np.asarray(v)[at] for k, v in evaluation.predictions.items()}
    targets = {k: np.asarray(v)[at] for k, v in evaluation.targets.items()}
    value = task.evaluate(predictions, targets).get(metric)
    return (None, None) if value is None or not np.isfinite(value) else (float(value), None)


def _tellings(run: Run, evaluation: Evaluation, dataset: Dataset) -> dict[str, list[str | None]]:
    """By what tells rows apart, the name of each row's kind."""
    table, rows = dataset.table, evaluation.rows.tolist()
    targets = {column for name in dataset.targets for column in dataset.columns[name]}
    skipped = {*targets, run.config.data.id_column, run.config.data.split.column}
    skipped.add(split_column(table))
    found: dict[str, list[str | None]] = {}
    for column in table.columns:
        if column in skipped:
            continue
        own = names_in(table, column, rows)
        if own is not None and 2 <= len(set(own)) <= min(_DISTINCT, len(own) // _LEAST):
            found[column] = own
    texts = dataset.texts(evaluation.rows)
    for name, spec in run.config.data.modalities.items():
        columns = [table.columns[column] for column in dataset.columns[name]]
        have = [any(not is_blank(cells[row]) for cells in columns) for row in rows]
        if not all(have):
            found[f"{name} there"] = ["yes" if one else "no" for one in have]
        if kind_of(spec) == "text" and name in texts:
            lengths = [None if one is None else float(len(one.split())) for one in texts[name]]
            found[f"words of {name}"] = _thirds(lengths)
    return found


def names_in(table: Table, column: str, rows: Sequence[int]) -> list[str | None] | None:
    """What each row has in a column, a number by its third; None for a column of larger things."""
    own = [table.columns[column][row] for row in rows]
    if column_of(table, column).kind == "number":
        return _thirds([parse_number(cell) for cell in own])
    if any(isinstance(cell, (list, dict, bytes, np.ndarray)) for cell in own[:20]):
        return None
    return [None if (key := key_of(cell)) is None else shown(key) for cell in own]


def _thirds(numbers: Sequence[float | None]) -> list[str | None]:
    """Which third each number is in, as its smallest and largest; None of nothing."""
    known = np.array([one for one in numbers if one is not None], np.float64)
    if not len(known) or known.min() == known.max():
        return [None] * len(numbers)
    edges = np.unique(np.quantile(known, [1 / 3, 2 / 3]))
    places = np.searchsorted(edges, known, side="left")
    names = {}
    for place in np.unique(places).tolist():
        own = known[places == place]
        names[place] = f"{own.min():g} to {own.max():g}"
    named = iter(places.tolist())
    return [None if one is None else names[next(named)] for one in numbers]

"""Is a run as good, and as sure of itself, for one group of rows as for another?"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.api import slicing
from mmjax.api.evaluating import study_into
from mmjax.api.run import Run
from mmjax.core.errors import ConfigError, nearest
from mmjax.core.files import read_json
from mmjax.data.dataset import ALL, Dataset
from mmjax.metrics import calibration_bins, expected_calibration_error
from mmjax.metrics.subgroups import compare
from mmjax.train.evaluate import Evaluation

NAME = "subgroups"
_LEAST, _MOST = 5, 60


def subgroups(
    run: Run, evaluation: Evaluation, dataset: Dataset, columns: Sequence[str], *, split: str
) -> dict[str, Any]:
    """By column, what `compare` says of the rows' accuracy (or absolute error, of numbers), and for
    classes of their overconfidence (probability of the answer minus whether it was right), with the
    calibration error of each group; as JSON values.

    A column of numbers is told apart by thirds. Raises ConfigError for a column that is not there
    or tells no groups apart, and for a task whose rows have no score of their own.
    """
    task = run.module.task
    for metric in ("accuracy", "mae"):
        scores = slicing.row_scores(task, evaluation, metric)
        if scores is not None:
            break
    else:
        raise ConfigError(
            109,
            f"the rows of task '{run.config.task.name}' have no score of their own",
            where="--by",
            fix="a run that predicts one class, or numbers",
        )
    found: dict[str, Any] = {}
    for column, names in _told_apart(dataset, columns, evaluation.rows).items():
        compared = compare(scores, names, least=_LEAST)
        assert compared is not None
        known = sum(one.rows for one in compared.groups)
        found[column] = {"left_out": len(names) - known, metric: dataclasses.asdict(compared)}
        if metric == "accuracy":
            found[column] |= _sureness(task, evaluation, scores, names)
    return {"split": split, "rows": len(scores), "metric": metric, "columns": found}


def _told_apart(
    dataset: Dataset, columns: Sequence[str], rows: np.ndarray
) -> dict[str, list[str | None]]:
    """By column, the name of each row's group."""
    found = {}
    for column in columns:
        if column not in dataset.table.columns:
            fix = nearest(column, dataset.table.columns)
            raise ConfigError(109, f"no column '{column}'", where="--by", fix=fix)
        names = slicing.names_in(dataset.table, column, rows.tolist()) or []
        counts = Counter(one for one in names if one is not None)
        enough = sum(count >= _LEAST for count in counts.values())
        if enough < 2 or len(counts) > _MOST:
            raise ConfigError(
                109,
                f"'{column}' tells no groups apart: it has {len(counts)} values, "
                f"{enough} of them with {_LEAST} rows",
                where="--by",
                fix=f"a column of 2 to {_MOST} values",
            )
        found[column] = names
    return found


def _sureness(
    task: Any, evaluation: Evaluation, correct: np.ndarray, names: Sequence[str | None]
) -> dict[str, Any]:
    chances = np.asarray(evaluation.predictions["probabilities"], np.float64)
    truth = evaluation.targets[task.target]
    compared = compare(chances.max(axis=1) - correct, names, least=_LEAST)
    assert compared is not None
    errors = {}
    for one in compared.groups:
        at = np.flatnonzero([name == one.name for name in names])
        errors[one.name] = expected_calibration_error(calibration_bins(chances[at], truth[at]))
    return {"overconfidence": dataclasses.asdict(compared), "ece": errors}


def subgroups_into(
    run: Run,
    columns: Sequence[str],
    data: Any = None,
    *,
    split: str | None = None,
    root: str | None = None,
    out: str | os.PathLike | None = None,
) -> tuple[dict[str, Any], Path]:
    """`subgroups`, written to `subgroups.json` in a folder, which it returns, as `study_into` says;
    the report tells of them.
    """
    dataset = run.dataset(data, root=root, labels=True)
    split = split or ("test" if data is None else ALL)
    _told_apart(dataset, columns, dataset.rows(split))  # so that a wrong name is told at once
    found = subgroups(run, run.evaluate_dataset(dataset, split), dataset, columns, split=split)
    return found, study_into(run, data, NAME, found, {}, split=split, root=root, out=out)


def asked_for(run: Run) -> tuple[str, ...]:
    """The columns that a run was last measured by on its own test rows; none if it was not."""
    path = run.folder.path / NAME / f"{NAME}.json"
    return tuple(read_json(path)["columns"]) if path.is_file() else ()

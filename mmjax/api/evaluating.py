"""Measuring a run after training, with a report of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mmjax.api.reporting import write_run_report
from mmjax.api.run import Run
from mmjax.core.files import write_json
from mmjax.data.dataset import ALL


def strict(metrics: dict[str, float]) -> dict[str, float | None]:
    """Metrics as JSON: what is not defined is null."""
    return {name: None if value != value else value for name, value in metrics.items()}


def evaluate_into(
    run: Run,
    data: Any = None,
    *,
    split: str | None = None,
    root: str | None = None,
    out: str | os.PathLike | None = None,
) -> tuple[dict[str, float], str, Path]:
    """Metrics on a split, and `metrics.json` and `report.html` about them.

    They go to `out`; by default to the run folder itself for the test rows of its own data, and to
    `RUN/evaluations/<data>-<split>` otherwise. Returns the metrics, the split and the folder.
    """
    dataset = run.dataset(data, root=root, labels=True)
    split = split or ("test" if data is None else ALL)
    evaluation = run.evaluate_dataset(dataset, split)
    own = data is None and split == "test"
    if out is not None:
        folder = Path(out)
    elif own:
        folder = run.folder.path
    else:
        name = "own" if data is None else Path(str(data)).stem
        folder = run.folder.path / "evaluations" / f"{name}-{split}"
    known = run.metrics if own and out is None else {}
    write_json(folder / "metrics.json", {**known, split: strict(evaluation.metrics)})
    write_run_report(run, evaluation, dataset, split=split, others={}, folder=folder)
    return evaluation.metrics, split, folder

"""Measuring a run after training, with a report of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmjax.api import before_after
from mmjax.api.reporting import write_run_report
from mmjax.api.run import Run
from mmjax.checkpoint.run_folder import RunFolder
from mmjax.core.files import atomic, write_json
from mmjax.data.dataset import ALL, Dataset

ALONE = "alone"
"""The folder, in a run's, of the runs of its single modalities."""


def strict(metrics: dict[str, float]) -> dict[str, float | None]:
    """Metrics as JSON: what is not defined is null."""
    return {name: None if value != value else value for name, value in metrics.items()}


def baselines(run: Run) -> dict[str, Run]:
    """The runs of single modalities that were trained with a run, by modality."""
    folders = {name: run.folder.path / ALONE / name for name in run.config.model.encoders}
    return {name: Run(path) for name, path in folders.items() if RunFolder(path).exists()}


def evaluate_into(
    run: Run,
    data: Any = None,
    *,
    split: str | None = None,
    root: str | None = None,
    out: str | os.PathLike | None = None,
) -> tuple[dict[str, float], str, Path]:
    """Metrics on a split, and `metrics.json` and `report.html` about them.

    They go to `out`; by default to the run folder itself for the best checkpoint on the test rows
    of its own data, and to `RUN/evaluations/<data>-<split>` otherwise. Returns the metrics, the
    split and the folder.
    """
    dataset = run.dataset(data, root=root, labels=True)
    split = split or ("test" if data is None else ALL)
    evaluation = run.evaluate_dataset(dataset, split)
    own = data is None and split == "test" and run.step == "best" and out is None
    others = {}
    if own:
        folder = run.folder.path
        for name, one in baselines(run).items():
            others[f"{name} alone"] = one.evaluation(split=split)
        others = {**before_after.kept(run, evaluation), **others}
    elif out is not None:
        folder = Path(out)
    else:
        name = "own" if data is None else manifest_name(data)
        step = "" if run.step == "best" else f"-step-{run.step}"
        folder = run.folder.path / "evaluations" / f"{name}-{split}{step}"
    known = run.metrics if own else {}
    if not own:
        list_left_out(dataset, folder / "metrics.json")
    write_json(folder / "metrics.json", {**known, split: strict(evaluation.metrics)})
    write_run_report(run, evaluation, dataset, split=split, others=others, folder=folder)
    return evaluation.metrics, split, folder


def study_into(
    run: Run,
    data: Any,
    name: str,
    values: Mapping[str, Any],
    pictures: Mapping[str, bytes],
    *,
    split: str,
    root: str | None = None,
    out: str | os.PathLike | None = None,
) -> Path:
    """What was studied of a run as `<name>.json`, a `<metric>.png` for each picture, and the report
    of the rows as they are anew; returns their folder.

    It is `out`, or `RUN/<name>` for the test rows of the run's own data and
    `RUN/<name>/<data>-<split>` for others. The report lies there too, of the test rows in the run
    folder.
    """
    folder = own = run.folder.path / name
    if out is not None:
        folder = Path(out)
    elif data is not None or split != "test":
        folder /= f"{'own' if data is None else manifest_name(data)}-{split}"
    for metric, picture in pictures.items():
        with atomic(folder / f"{metric.replace('/', '_')}.png", "wb") as file:
            file.write(picture)
    write_json(folder / f"{name}.json", values)
    evaluate_into(run, data, split=split, root=root, out=None if folder == own else folder)
    return folder


def manifest_name(data: Any) -> str:
    """What a manifest is called in the name of a folder."""
    return Path(data).stem if isinstance(data, (str, os.PathLike)) else "frame"


def list_left_out(dataset: Dataset, beside: str | os.PathLike) -> list[str]:
    """Writes the rows that policy `quarantine` left out to `<name>.quarantine.jsonl`, by a file.

    Returns a line that says so; none, and no file, if every row was used.
    """
    beside = Path(beside)
    path = beside.with_name(f"{beside.stem}.quarantine.jsonl")
    if not dataset.quarantine.found:
        path.unlink(missing_ok=True)
        return []
    dataset.quarantine.save(path)
    return [f"{len(dataset.quarantine.found)} rows left out  {path}"]

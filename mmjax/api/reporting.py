"""What goes on a run's report page."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from mmjax.api import (
    answers,
    before_after,
    costs_of_run,
    data_looks,
    example_media,
    retrieving,
    slicing,
)
from mmjax.api.run import Run
from mmjax.checkpoint.manifest import library_versions
from mmjax.core import config as config_lib
from mmjax.core.files import read_json
from mmjax.data.config import kind_of
from mmjax.data.dataset import Dataset
from mmjax.report import ReportContents, write_report
from mmjax.train.config import Config
from mmjax.train.evaluate import Evaluation
from mmjax.writers import read_records

_KINDS = ("text", "image", "audio", "video", "volume", "points")
"""What `mmjax predict` takes of a single example as an option of the same name."""


def environment() -> dict[str, Any]:
    """Where this process runs: versions, device, time."""
    device = jax.devices()[0]
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {
        "device": f"{jax.device_count()} x {device.platform} ({device.device_kind})",
        "python": platform.python_version(),
        "time": now,
        **library_versions(),
    }


def title_of(config: Config) -> str:
    """What a run's model is called beside others: "fused", or "text alone"."""
    names = list(config.model.encoders)
    return "fused" if len(names) > 1 else f"{names[0]} alone"


def usage(run: Run) -> list[str]:
    """The lines that load and use a run."""
    path = run.folder.path
    inputs = " ".join(
        (f"--{name} " if name in _KINDS else f"--set {name}=")
        + ('"..."' if kind_of(spec) == "text" else "FILE")
        for name, spec in run.config.data.modalities.items()
        if kind_of(spec) in _KINDS
    )
    return [
        f'run = mmjax.load_run("{path}"); run.predict("new.csv")',
        f"mmjax predict {path} --data new.csv --out predictions.jsonl",
        f"mmjax predict {path} {inputs}",
    ]


def write_run_report(
    run: Run,
    evaluation: Evaluation,
    dataset: Dataset,
    *,
    split: str,
    others: Mapping[str, Evaluation],
    folder: Path | None = None,
    title: str | None = None,
    more: Mapping[str, Any] | None = None,
) -> Path:
    """`report.html` of a run, in its folder or another; `others` are evaluations of other models
    on the same rows, `title` what this one's model is called beside them. `more` are fields of
    `ReportContents` that take longer to find.
    """
    folder = folder or run.folder.path
    about = {**_about(run, split), "presence": data_looks.presence(dataset)}
    about["costs"] = costs_of_run.told(run, about["curves"])
    if run.config.objectives:
        pretraining = _of_pretraining(run, evaluation, dataset, split)
        return write_report(folder, ReportContents(**{**about, **pretraining, **(more or {})}))
    title = title or title_of(run.config)
    evaluations = {**others, title: evaluation}
    also = example_media.explained_rows(run)
    page = answers.page(run, evaluation, dataset, evaluations, also)
    fields = {
        **about,
        "results": {name: one.metrics for name, one in evaluations.items()},
        "model": title,
        "rows": len(evaluation.rows),
        "usage": usage(run),
        "remarks": before_after.lines(run),
        "robustness": _written(folder, "robustness"),
        "modalities": _written(folder, "modalities"),
        "subgroups": _written(folder, "subgroups"),
        **page,
        "examples": example_media.furnished(run, dataset, page.get("examples", ())),
        "slices": slicing.slices(run, evaluation, dataset, page["headline"]),
        **(more or {}),
    }
    return write_report(folder, ReportContents(**fields))


def _written(folder: Path, name: str) -> dict[str, Any]:
    """What `mmjax evaluate` wrote for this report with `--degrade`, `--by` or of all subsets."""
    for path in (folder / f"{name}.json", folder / name / f"{name}.json"):
        if path.is_file():
            return read_json(path)
    return {}


def _about(run: Run, split: str) -> dict[str, Any]:
    """What the reports of all runs have."""
    return {
        "title": run.folder.path.resolve().name,
        "split": split,
        "run_folder": str(run.folder.path),
        "curves": read_records(run.folder.metrics) if run.folder.metrics.is_file() else [],
        "data_summary": read_json(run.folder.path / "data_summary.json"),
        "config": config_lib.to_json(run.config),
        "environment": {**environment(), "seed": run.config.seed},
    }


def _of_pretraining(
    run: Run, evaluation: Evaluation, dataset: Dataset, split: str
) -> dict[str, Any]:
    """Fields of `ReportContents`."""
    path, title = run.folder.path, "pretraining"
    ways, interval = retrieving.ways(run, evaluation)
    return {
        "results": {title: evaluation.metrics},
        "headline": "recall@10" if ways else "loss",
        "rows": len(evaluation.rows),
        "intervals": {} if interval is None else {title: interval},
        "usage": [
            f'run = mmjax.load_run("{path}"); run.embed(split="{split}")',
            f"mmjax embed {path} --split {split} --out embeddings.npz",
            f'mmjax search {path} --index embeddings.npz --query "..."',
            f"mmjax train CONFIG.py init.run={path} --workdir NEW",
        ],
        "objectives": retrieving.objectives(run, evaluation, dataset, split),
        "ways": ways,
        "queries": retrieving.queries(run, evaluation, dataset),
    }

"""Training from Python: one run or several seeds, evaluated and reported."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from mmjax.api.evaluating import strict
from mmjax.api.reporting import write_run_report
from mmjax.api.run import Run
from mmjax.checkpoint.run_folder import RunFolder
from mmjax.core.errors import ConfigError
from mmjax.core.files import read_json, write_json
from mmjax.core.registry import Spec
from mmjax.metrics import mean_and_spread
from mmjax.parallel.distributed import initialize
from mmjax.train.config import Config
from mmjax.train.evaluate import Evaluation
from mmjax.train.trainer import fit as fit_run

log = logging.getLogger(__name__)


def train(
    config: Config,
    workdir: str | os.PathLike,
    *,
    resume: bool = False,
    frame: Any = None,
) -> Run:
    """Trains, then evaluates on the validation and test rows and writes the report.

    With `train.single_modality_baselines`, each modality is trained alone first, in
    `workdir/alone/<modality>`. `frame` is the DataFrame of a `frame` source. With `resume`, a run
    that was stopped goes on, and what is finished is left as it is.
    """
    initialize()
    path = Path(workdir)
    if not resume and RunFolder(path).exists():
        RunFolder(path).create()  # raises, before the baselines are trained
    names = list(config.model.encoders)
    alone: dict[str, Run] = {}
    if config.train.single_modality_baselines and len(names) > 1:
        for name in names:
            where = path / "alone" / name
            fit_run(
                single_modality(config, name),
                where,
                resume=resume or RunFolder(where).exists(),
                frame=frame,
                title=f"{name} alone",
            )
            alone[name] = Run(where)
    title = "fused" if len(names) > 1 else f"{names[0]} alone" if names else "train"
    fit_run(config, path, resume=resume, frame=frame, title=title)
    run = Run(path)
    if jax.process_index() == 0 or jax.process_count() > 1:
        complete(run, alone, frame)
    return run


def single_modality(config: Config, name: str) -> Config:
    """The same training for one modality alone: options that name the others are dropped."""
    others = set(config.model.encoders) - {name}
    fusion = config.model.fusion

    def without_others(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: inner for key, inner in value.items() if key not in others}
        if isinstance(value, tuple):
            return tuple(item for item in value if item not in others)
        return value

    options = {key: without_others(value) for key, value in fusion.options.items()}
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, modalities={name: config.data.modalities[name]}),
        model=dataclasses.replace(
            config.model,
            encoders={name: config.model.encoders[name]},
            fusion=Spec(fusion.name, **options),
            auxiliary_loss=0.0,
            modality_dropout=0.0,
        ),
        train=dataclasses.replace(config.train, single_modality_baselines=False),
    )


def complete(run: Run, alone: Mapping[str, Run], frame: Any = None) -> dict[str, Evaluation]:
    """Evaluates a trained run and its baselines; writes their metrics.json and the report.

    Returns the evaluations by model on the split that the report shows.
    """
    shown: dict[str, Evaluation] = {}
    for name, one in alone.items():
        shown[f"{name} alone"] = _measure(one, frame)[0]
    evaluation, split, dataset = _measure(run, frame)
    write_run_report(run, evaluation, dataset, split=split, others=shown)
    title = "fused" if len(run.config.model.encoders) > 1 else "model"
    return {**shown, title: evaluation}


def _measure(run: Run, frame: Any) -> tuple[Evaluation, str, Any]:
    """Metrics of every held-out split; the evaluation on the one that counts, and the data."""
    config = run.config.data
    dataset = run.dataset(frame if config.source.name == "frame" else None, labels=True)
    held_out = [s for s in ("validation", "test") if len(dataset.splits.get(s, ()))]
    found = {split: run.evaluate_dataset(dataset, split) for split in held_out or ["train"]}
    write_json(
        run.folder.path / "metrics.json", {s: strict(one.metrics) for s, one in found.items()}
    )
    last = list(found)[-1]
    return found[last], last, dataset


def train_seeds(
    config: Config,
    workdir: str | os.PathLike,
    *,
    seeds: int,
    resume: bool = False,
    frame: Any = None,
) -> list[Run]:
    """`seeds` runs in `workdir/seed_<n>`, n from `config.seed`; `workdir/seeds.json` sums up."""
    if seeds < 1:
        raise ConfigError(106, f"seeds = {seeds}", fix="expected 1 or more")
    runs = []
    for seed in range(config.seed, config.seed + seeds):
        where = Path(workdir) / f"seed_{seed}"
        changed = dataclasses.replace(config, seed=seed)
        runs.append(train(changed, where, resume=resume, frame=frame))
    write_json(Path(workdir) / "seeds.json", spread(runs))
    return runs


def spread(runs: Sequence[Run]) -> dict[str, dict[str, dict[str, Any]]]:
    """`{model: {metric: {"mean", "spread", "values"}}}` over runs, on the split that counts.

    `spread` is the sample standard deviation, null for a single run.
    """
    results = [comparison(run) for run in runs]
    summary: dict[str, dict[str, dict[str, Any]]] = {}
    for model in results[0]:
        summary[model] = {}
        for metric in results[0][model]:
            values = [one[model][metric] for one in results]
            if any(value is None for value in values):
                continue
            mean, deviation = mean_and_spread(values)
            shown = strict({"mean": mean, "spread": deviation})
            summary[model][metric] = {**shown, "values": values}
    return summary


def comparison(run: Run) -> dict[str, dict[str, float]]:
    """`{"text alone": metrics, ..., "fused": metrics}` on the split that counts."""
    found = {}
    for folder in sorted((run.folder.path / "alone").glob("*/metrics.json")):
        found[f"{folder.parent.name} alone"] = list(read_json(folder).values())[-1]
    order = [f"{name} alone" for name in run.config.model.encoders]
    ordered = {name: found[name] for name in order if name in found}
    title = "fused" if len(order) > 1 else order[0]
    return {**ordered, title: list(run.metrics.values())[-1]}

"""Training from Python: one run or several seeds, evaluated and reported."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from mmjax.adapt import registry as adaptations
from mmjax.adapt.base import Adapter
from mmjax.api import before_after, costs_of_run, reference
from mmjax.api.evaluating import ALONE, baselines, strict
from mmjax.api.reporting import title_of, write_run_report
from mmjax.api.run import Run
from mmjax.api.tuning import learnt, tuned
from mmjax.checkpoint.run_folder import RunFolder
from mmjax.core.errors import CheckpointError, ConfigError
from mmjax.core.files import write_json
from mmjax.core.registry import Spec
from mmjax.data.pipeline import prepare
from mmjax.metrics import mean_and_spread
from mmjax.parallel.distributed import initialize
from mmjax.train.config import Config
from mmjax.train.costs import measured
from mmjax.train.evaluate import Evaluation
from mmjax.train.features import Features
from mmjax.train.other_run import alone, processor_folders
from mmjax.train.ranges import require_ranges
from mmjax.train.trainer import Trainer
from mmjax.train.trainer import fit as fit_run
from mmjax.train.warm_start import with_encoders

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
    config = with_encoders(
        config, RunFolder(path).read_config() if RunFolder(path).exists() else None
    )
    kept: dict[str, Features] = {}
    if config.train.single_modality_baselines and len(config.model.encoders) > 1:
        kept = _train_alone(config, path, resume=resume, frame=frame)
    with measured() as costs:
        fit_run(
            config,
            path,
            resume=resume,
            frame=frame,
            title=title_of(config),
            built=keeping(kept),
        )
    run = Run(path)
    if jax.process_index() == 0:
        costs_of_run.add(run, costs)
    complete(run, frame, kept)
    return run


def keeping(kept: dict[str, Features]) -> Callable[[Trainer], None]:
    """What `fit` tells of a run, so that `complete` evaluates on the features of training too."""

    def built(trainer: Trainer) -> None:
        kept[title_of(trainer.config)] = trainer.features

    return built


def _train_alone(config: Config, path: Path, *, resume: bool, frame: Any) -> dict[str, Features]:
    """The features of each, by its title."""
    dataset, kept = None, dict[str, Features]()
    for name in config.model.encoders:
        folder = RunFolder(path / ALONE / name)
        begun = folder.exists()
        if not begun and dataset is None:
            # Every model sees the same rows, also those without its modality.
            require_ranges(config)
            dataset = prepare(config.data, frame=frame, taken=processor_folders(config))
        fit_run(
            single_modality(config, name),
            folder.path,
            resume=resume or begun,
            frame=frame,
            dataset=None if begun or dataset is None else dataset.only(name),
            title=f"{name} alone",
            built=keeping(kept),
        )
    return kept


def single_modality(config: Config, name: str) -> Config:
    """The same training for one modality alone: options that name the others are dropped."""
    others = set(config.model.encoders) - {name}
    fusion = config.model.fusion

    def without_others(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: inner for key, inner in value.items() if key not in others}
        if isinstance(value, tuple):
            return tuple(item for item in value if item not in others)
        if isinstance(value, Spec):
            return Spec(value.name, **without_others_in(value.options))
        return value

    def without_others_in(options: Mapping[str, Any]) -> dict[str, Any]:
        return {key: without_others(value) for key, value in options.items()}

    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, modalities={name: config.data.modalities[name]}),
        model=dataclasses.replace(
            config.model,
            encoders={name: config.model.encoders[name]},
            pretrained={k: v for k, v in config.model.pretrained.items() if k == name},
            feature_dropout={k: v for k, v in config.model.feature_dropout.items() if k == name},
            fusion=Spec(fusion.name, **without_others_in(fusion.options)),
            auxiliary_loss=0.0,
            modality_dropout=0.0,
        ),
        train=dataclasses.replace(
            config.train,
            single_modality_baselines=False,
            feature_cache={k: v for k, v in config.train.feature_cache.items() if k == name},
        ),
        init=alone(config.init, name),
        adapt={
            key: spec.replace(optional=True)
            if issubclass(adaptations.load(spec.name), Adapter)
            else spec
            for key, spec in config.adapt.items()
        },
    )


def complete(
    run: Run, frame: Any = None, kept: Mapping[str, Features] | None = None
) -> dict[str, Evaluation]:
    """Evaluates a trained run and its baselines; writes their metrics.json and the report.

    Returns the evaluations by model on the split that the report shows. `kept` are the features
    that they were trained on, by the titles of the models: evaluation reads them too.
    """
    single = {f"{name} alone": one for name, one in baselines(run).items()}
    known = kept or {}
    for title, one in single.items():
        one.features = known.get(title)
    run.features = known.get(title_of(run.config))
    try:
        return _completed(run, single, frame)
    finally:
        run.features = None


def _completed(run: Run, single: Mapping[str, Run], frame: Any) -> dict[str, Evaluation]:
    shown = {title: _measure(one, frame)[0] for title, one in single.items()}
    evaluation, split, dataset = _measure(run, frame)
    if before_after.wanted(run, dataset, evaluation):
        shown = {**before_after.measured(run, dataset, evaluation, split), **shown}
    write_run_report(run, evaluation, dataset, split=split, others=shown)
    if not run.config.objectives and jax.process_index() == 0:
        reference.keep(run, dataset, evaluation)
    return {**shown, title_of(run.config): evaluation}


def _measure(run: Run, frame: Any) -> tuple[Evaluation, str, Any]:
    """Metrics of every held-out split; the evaluation on the one that counts, and the data."""
    source = run.config.data.source
    frame = frame if source.name == "frame" else None
    dataset = run.dataset(frame, root=source.options.get("root"), labels=True)
    if not run.config.objectives:
        learnt(run, dataset)
    held_out = [s for s in ("validation", "test") if len(dataset.splits.get(s, ()))]
    found: dict[str, Evaluation] = {}
    for split in held_out or ["train"]:
        found[split] = run.evaluate_dataset(dataset, split)
        if split == "validation" and not run.config.objectives:
            found[split] = tuned(run, found[split], dataset)
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
    require_seeds(seeds)
    if RunFolder(Path(workdir)).exists():
        raise CheckpointError(
            601, f"'{workdir}' holds a single run", fix="name another --workdir for several seeds"
        )
    runs = []
    for seed in range(config.seed, config.seed + seeds):
        where = Path(workdir) / f"seed_{seed}"
        changed = dataclasses.replace(config, seed=seed)
        runs.append(train(changed, where, resume=resume, frame=frame))
    write_json(Path(workdir) / "seeds.json", spread(runs))
    return runs


def require_seeds(seeds: int) -> None:
    """Raises ConfigError unless there is one seed or more."""
    if seeds < 1:
        raise ConfigError(106, f"seeds = {seeds}", fix="expected 1 or more")


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
    alone = {f"{name} alone": one.metrics for name, one in baselines(run).items()}
    split = list(run.metrics)[-1]
    found = {name: metrics[split] for name, metrics in alone.items() if split in metrics}
    before = before_after.told(run)
    if before.get("split") == split:
        models = {name: one for name, one in before["models"].items() if name != "tuned"}
        headline = run.module.task.headline
        told = {n: {m: one[m] for m in headline if m in one} for n, one in models.items()}
        found = {**told, **found}
    return {**found, title_of(run.config): run.metrics[split]}

"""What a config costs, what a run is, what a manifest holds: as tables and lines."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from mmjax.api.choosing import INPUTS
from mmjax.api.run import Run
from mmjax.checkpoint.store import Checkpoints
from mmjax.core.files import read_json
from mmjax.data import describe, manifest, schema
from mmjax.data.pipeline import prepare
from mmjax.parallel.sharding import put_batch
from mmjax.train import adapting
from mmjax.train.config import Config
from mmjax.train.example import example_batch
from mmjax.train.trained import trained
from mmjax.train.trainer import Trainer
from mmjax.train.warm_start import with_encoders

Section = tuple[str, list[str], list[list[Any]]]


def _mib(count: float) -> str:
    return f"{count / 2**20:,.1f} MiB"


def _bytes(tree: Any) -> int:
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def describe_config(config: Config) -> list[Section]:
    """Parameters by part, shapes of a batch, memory of the state, FLOPs of a step.

    FLOPs are XLA's count of the step before optimisation; a scanned layer is counted once.
    """
    config = with_encoders(config)
    dataset = prepare(config.data)
    trainer = Trainer.build(config, dataset)
    parts = [
        [name, sum(math.prod(x.shape) for x in jax.tree.leaves(tree)), _mib(_bytes(tree))]
        for name, tree in sorted(trainer.state.params.items())
    ]
    total = sum(part[1] for part in parts)
    parts.append(["all", total, _mib(_bytes(trainer.state.params))])
    batch = example_batch(trainer.dataset, config.data.batch_size)
    shapes = [
        [f"{modality}.{field}", str(list(array.shape)), str(np.asarray(array).dtype)]
        for modality, fields in batch.inputs.items()
        for field, array in fields.items()
    ]
    lowered = trainer.step.lower(trainer.state, put_batch(batch, trainer.mesh))
    cost: Mapping[str, float] = lowered.cost_analysis() or {}
    splits = ", ".join(f"{name} {len(rows)}" for name, rows in dataset.splits.items())
    still = adapting.frozen_in(config, trainer.state.params)
    moving = trained(trainer.state.params, still)
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(moving))
    facts = [
        ["rows", splits],
        ["trained parameters", f"{count:,} of {total:,} ({count / total:.2%})"],
        ["optimiser's memory", _mib(_bytes(trainer.state.opt_state))],
        ["steps", f"{trainer.periods.total:,} ({config.train.duration})"],
        ["mesh", ", ".join(f"{axis} {size}" for axis, size in trainer.mesh.shape.items())],
        ["training state", _mib(_bytes(trainer.state))],
        ["FLOPs a step", f"{cost.get('flops', float('nan')):.3g}"],
        ["FLOPs an example", f"{cost.get('flops', float('nan')) / config.data.batch_size:.3g}"],
    ]
    return [
        ("parameters", ["part", "count", "size"], parts),
        ("batch", ["field", "shape", "dtype"], shapes),
        ("run", ["", ""], facts),
    ]


def describe_run(folder: str | Path) -> list[Section]:
    """What a run was made of, its checkpoints and its metrics."""
    run = Run(folder)
    config, path = run.config, run.folder.path
    status = path / "status.json"
    summary = read_json(path / "data_summary.json")
    with Checkpoints(run.folder.checkpoints, readonly=True) as checkpoints:
        steps, best = checkpoints.steps(), checkpoints.best()
    facts = [
        ["status", read_json(status)["status"] if status.is_file() else "not finished"],
        ["encoders", ", ".join(f"{k}: {v.name}" for k, v in config.model.encoders.items())],
        ["fusion", config.model.fusion.name],
        ["task", config.task.name],
        ["rows", ", ".join(f"{k} {v}" for k, v in summary["splits"].items())],
        ["checkpoints", ", ".join(map(str, steps)) + (f" (best {best})" if best else "")],
        ["seed", str(config.seed)],
        *(["adapt", f"{name}: {spec.name}"] for name, spec in config.adapt.items()),
    ]
    sections: list[Section] = [(str(path), ["", ""], facts)]
    for split, metrics in run.metrics.items():
        rows = [[name, value] for name, value in metrics.items() if "/" not in name]
        sections.append((f"{split} rows", ["metric", "value"], rows))
    return sections


def describe_manifest(data: str, *, root: str | None = None, label: str | None = None) -> list[str]:
    """The columns of a manifest; with `label`, what `fit` would choose as well."""
    table = manifest.read(data, root)
    lines = describe.lines(describe.describe(table))
    if label is not None:
        lines += ["", *schema.infer(table, label, inputs=INPUTS).lines()]
    return lines

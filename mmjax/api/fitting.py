"""Three lines from a table to a model: everything is chosen, said, and can be overridden."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mmjax.api.run import Run
from mmjax.api.training import require_seeds, train, train_seeds
from mmjax.core import config as config_lib
from mmjax.core.registry import Spec
from mmjax.data import manifest, schema
from mmjax.data.config import DataConfig
from mmjax.data.config import modalities as modality_registry
from mmjax.data.modalities.base import Place
from mmjax.data.table import Table
from mmjax.models.config import ModelConfig
from mmjax.train.config import Config, OptimizerConfig, TrainConfig
from mmjax.writers.console import say

_BATCH = 32
_STEPS = 2_000
"""A small table is trained for about this many steps, a large one for fewer epochs."""


def fit(
    data: Any,
    label: str,
    workdir: str | os.PathLike,
    *,
    root: str | None = None,
    kinds: Mapping[str, Any] | None = None,
    settings: Sequence[str] | Mapping[str, Any] = (),
    seeds: int = 1,
    resume: bool = False,
    tell: Callable[[str], None] = say,
) -> Run:
    """Trains a model that predicts the column `label` of a table, and evaluates it.

    `data` is a manifest's path, a DataFrame, or an embedded set's name; media paths are relative to
    the manifest or to `root`. What is chosen is told line by line: the kind of each column
    (`kinds={"notes": "text"}` overrides), encoders, task, and the length of training (`settings`
    overrides any, as `["train.duration=5 epochs"]`). With several `seeds`, returns the first run.
    """
    require_seeds(seeds)
    table = manifest.read(data, root)
    chosen = schema.infer(table, label, kinds=kinds)
    for line in chosen.lines():
        tell(line)
    config, reasons = propose(table, chosen, manifest.source_for(data, root))
    for line in reasons:
        tell(line)
    config = config_lib.override(config, settings)
    frame = data if config.data.source.name == "frame" else None
    if seeds > 1:
        return train_seeds(config, workdir, seeds=seeds, resume=resume, frame=frame)[0]
    return train(config, workdir, resume=resume, frame=frame)


def propose(table: Table, chosen: schema.Schema, source: Spec) -> tuple[Config, list[str]]:
    """A config for a schema, and the reasons for it."""
    modalities: dict[str, Spec] = {}
    encoders: dict[str, Spec] = {}
    reasons = []
    for name, spec in chosen.modalities.items():
        if spec.name == "text":
            modalities[name] = spec.replace(
                tokenizer="subwords", max_length=128, min_count=2, buckets=16_000
            )
            encoders[name] = Spec(
                "bag_of_subwords", width=32, combiner="sqrtn", token_dropout=0.5, dropout=0.3
            )
            why = "words and their parts, averaged: strong on small tables, fast on a CPU"
        elif spec.name == "image":
            size = picture_size(table, spec)
            augment = {
                "affine": {"degrees": 8, "scale": 0.1, "pixels": max(1, size // 16), "flip": 0.5},
                "jitter": {"brightness": 0.1, "contrast": 0.1, "saturation": 0.2},
            }
            views = "all" if len(spec.options["columns"]) > 1 else "first"
            modalities[name] = spec.replace(size=size, augment=augment, evaluate_views=views)
            encoders[name] = Spec(
                "image_cnn", width=128, pools=("quadrants", "max", "early_mean"), dropout=0.3
            )
            why = f"a small network from scratch on {size} x {size} pixels"
        else:
            modalities[name] = spec
            encoders[name] = Spec("table", width=64)
            why = "one token a column"
        reasons.append(f"encoder {name}: {encoders[name].name}, {why}")
    several = len(encoders) > 1
    epochs = int(np.clip(round(_STEPS * _BATCH / max(len(table), 1)), 5, 60))
    reasons.append("task: classification of " + chosen.label)
    reasons.append(f"training: {epochs} epochs, the best on validation rows is kept")
    config = Config(
        data=DataConfig(
            source=source,
            modalities=modalities,
            targets=chosen.targets,
            split=chosen.split,
            id_column=chosen.id_column,
            batch_size=_BATCH,
            eval_batch_size=128,
        ),
        model=ModelConfig(
            encoders=encoders,
            fusion=Spec("weighted_sum", width=128, weights="fixed"),
            auxiliary_loss=3.0 if several else 0.0,
        ),
        task=Spec("classification", label_smoothing=0.1),
        optimizer=OptimizerConfig(learning_rate=2e-3, weight_decay=0.05, warmup="10%"),
        train=TrainConfig(duration=f"{epochs} epochs", ema_decay=0.99),
    )
    return config, reasons


def picture_size(table: Table, spec: Spec) -> int:
    """The side that pictures are brought to: that of the first few, 32 at least and 64 at most."""
    modality = modality_registry.build(spec)
    column = spec.options["columns"][0]
    cells = table.column(column)
    rows = itertools.islice((i for i in range(len(cells)) if cells[i] is not None), 8)
    sides = [min(modality.decode(cells[i], column, Place(table, i)).size) for i in rows]
    return int(np.clip(np.median(sides) // 16 * 16, 32, 64)) if sides else 32

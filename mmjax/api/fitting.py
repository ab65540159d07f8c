"""Three lines from a table to a model: everything is chosen, said, and can be overridden."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mmjax.api import choosing, relations
from mmjax.api.run import Run
from mmjax.api.training import require_seeds, train, train_seeds
from mmjax.core import config as config_lib
from mmjax.core.registry import Spec
from mmjax.data import manifest, schema
from mmjax.data.config import DataConfig
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
    task: str | None = None,
    settings: Sequence[str] | Mapping[str, Any] = (),
    seeds: int = 1,
    resume: bool = False,
    tell: Callable[[str], None] = say,
) -> Run:
    """Trains a model that predicts the column `label` of a table, and evaluates it.

    Names are classes, lists of names (or text with separators) any of several labels, fractions and
    very many numbers are predicted as such. Lists of `{"start", "end", "label"}` in a text next to
    them are spans to be found, an answer beside a `question` and the `context` that it is in is
    looked for there, and an `item` that a `user` chose is recommended. Where a column names splits
    and all training rows are of one class, rows that are not are to be found. `task` chooses
    otherwise: "classification", "ordinal", "multi_label", "regression", "anomaly",
    "token_classification", "extractive_qa" or "recommendation".

    `data` is a manifest's path, a DataFrame, or an embedded set's name; media paths are relative to
    the manifest or to `root`. Columns of text, pictures, sounds, videos, volumes, sets of points,
    numbers and categories are learnt from. What is chosen is told line by line: the kind of each
    column (`kinds={"notes": "text"}` overrides), encoders, task, and the length of training
    (`settings` overrides any, as `["train.duration=5 epochs"]`). With several `seeds`, returns the
    first run.
    """
    require_seeds(seeds)
    table, source = manifest.read(data, root), manifest.source_for(data, root)
    related = relations.propose(table, label, source, task=task, kinds=kinds)
    if related is not None:
        config, reasons = related
    else:
        if task is not None:
            kinds = {**(kinds or {}), label: choosing.kind_for(task)}
        bad = _given(settings).get("data.on_bad_sample") == "quarantine"
        inputs = choosing.INPUTS
        chosen = schema.infer(table, label, kinds=kinds, allow_bad_images=bad, inputs=inputs)
        for line in chosen.lines():
            tell(line)
        config, reasons = propose(table, chosen, source, task)
    for line in reasons:
        tell(line)
    config = config_lib.override(config, settings)
    tell(f"training: {config.train.duration}, the best on validation rows is kept")
    frame = data if config.data.source.name == "frame" else None
    if seeds > 1:
        return train_seeds(config, workdir, seeds=seeds, resume=resume, frame=frame)[0]
    return train(config, workdir, resume=resume, frame=frame)


def _given(settings: Sequence[str] | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(settings, Mapping):
        return dict(settings)
    return {name: value for name, _, value in (one.partition("=") for one in settings)}


def propose(
    table: Table, chosen: schema.Schema, source: Spec, task: str | None = None
) -> tuple[Config, list[str]]:
    """A config for a schema, and the reasons for it; `task` is what was asked for.

    Of pictures, sounds and videos a few are looked at, to choose their sizes.
    """
    modalities: dict[str, Spec] = {}
    encoders: dict[str, Spec] = {}
    reasons = []
    for name, spec in chosen.modalities.items():
        modalities[name], encoders[name], why = choosing.choose(table, spec)
        reasons.append(f"encoder {name}: {encoders[name].name}, {why}")
    several = len(encoders) > 1
    epochs = int(np.clip(round(_STEPS * _BATCH / max(len(table), 1)), 5, 60))
    target, fusion = chosen.targets["label"], Spec("weighted_sum", width=128, weights="fixed")
    normal = choosing.normal_of(table, chosen)
    finds = task == "anomaly" or (task is None and normal is not None)
    if finds:
        target, answer = choosing.anomaly(table, target, normal, several)
        fusion = Spec("side_by_side", width=128)
        epochs = epochs if several else 1
    else:
        answer = choosing.answer(table, target, task)
    reasons.append(f"task: {answer.reason}")
    config = Config(
        data=DataConfig(
            source=source,
            modalities=modalities,
            targets={"label": target},
            split=chosen.split,
            id_column=chosen.id_column,
            batch_size=_BATCH,
            eval_batch_size=128,
        ),
        model=ModelConfig(
            encoders=encoders,
            fusion=fusion,
            auxiliary_loss=3.0 if several and not finds else 0.0,
        ),
        task=answer.task,
        optimizer=OptimizerConfig(learning_rate=2e-3, weight_decay=0.05, warmup="10%"),
        train=TrainConfig(duration=f"{epochs} epochs", ema_decay=0.99, best_metric=answer.metric),
    )
    return config, reasons

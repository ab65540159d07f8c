"""Settings whose type is right and whose value makes no sense."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

from mmjax.core.errors import ConfigError, nearest
from mmjax.tasks.base import Task
from mmjax.train.config import Config
from mmjax.writers.config import writers

_Rule = tuple[Callable[[Any], bool], str]

_COUNT: _Rule = (lambda value: value >= 1, "1 or more")
_NOT_NEGATIVE: _Rule = (lambda value: 0 <= value < math.inf, "0 or more")
_POSITIVE: _Rule = (lambda value: 0 < value < math.inf, "more than 0")
_SHARE: _Rule = (lambda value: 0 <= value <= 1, "0 to 1")
_BELOW_ONE: _Rule = (lambda value: 0 <= value < 1, "0 or more, less than 1")

_RULES: dict[str, _Rule] = {
    "data.batch_size": _COUNT,
    "data.eval_batch_size": _COUNT,
    "data.threads": _NOT_NEGATIVE,
    "data.workers": _NOT_NEGATIVE,
    "data.prefetch": _COUNT,
    "model.modality_dropout": _BELOW_ONE,
    "model.auxiliary_loss": _NOT_NEGATIVE,
    "model.r_drop": _NOT_NEGATIVE,
    "model.mixup": _NOT_NEGATIVE,
    "model.gradient_balance": _NOT_NEGATIVE,
    "optimizer.gradient_noise": _NOT_NEGATIVE,
    "optimizer.learning_rate": _POSITIVE,
    "optimizer.end_fraction": _SHARE,
    "optimizer.weight_decay": _NOT_NEGATIVE,
    "optimizer.l1": _NOT_NEGATIVE,
    "optimizer.b1": _BELOW_ONE,
    "optimizer.b2": _BELOW_ONE,
    "optimizer.eps": _POSITIVE,
    "optimizer.momentum": _BELOW_ONE,
    "optimizer.max_grad_norm": _POSITIVE,
    "optimizer.sam": _NOT_NEGATIVE,
    "train.gradient_accumulation_steps": _COUNT,
    "train.steps_per_call": _COUNT,
    "train.ema_decay": _BELOW_ONE,
    "train.early_stopping_patience": _COUNT,
    "train.early_stopping_threshold": _NOT_NEGATIVE,
    "train.keep_last": _COUNT,
    "train.keep_best": _NOT_NEGATIVE,
    "train.max_skipped": _COUNT,
}

_OF_OBJECTIVES: dict[str, _Rule] = {
    "weight": _NOT_NEGATIVE,
    "temperature": _POSITIVE,
    "teacher_temperature": _POSITIVE,
    "softening": _POSITIVE,
    "max_scale": _POSITIVE,
    "label_smoothing": _BELOW_ONE,
    "margin": _NOT_NEGATIVE,
    "alpha": _SHARE,
    "alpha_warmup": _NOT_NEGATIVE,
    "queue_size": _NOT_NEGATIVE,
    "chunk": _COUNT,
}
"""Of each objective that has a setting of this name."""


def require_ranges(config: Config) -> None:
    """Raises ConfigError for the first setting out of its range, or an unknown writer.

    None is in the range of every setting that may be None.
    """
    given: list[tuple[str, Any, _Rule]] = [
        (path, functools.reduce(getattr, path.split("."), config), rule)
        for path, rule in _RULES.items()
    ]
    given += [
        (f"objectives.{name}.{setting}", spec.options.get(setting), rule)
        for name, spec in config.objectives.items()
        for setting, rule in _OF_OBJECTIVES.items()
    ]
    for path, value, (allowed, range_) in given:
        if value is not None and not allowed(value):
            raise ConfigError(106, f"{path} = {value} is out of range", fix=f"expected {range_}")
    if config.train.average_from and config.train.ema_decay:
        raise ConfigError(
            109,
            f"train.average_from = '{config.train.average_from}' beside an exponential average",
            where="train.ema_decay",
            fix="train.ema_decay=0, or no average_from",
        )
    for name in config.train.writers:
        if name not in writers:
            raise ConfigError(
                102,
                f"unknown writer '{name}'",
                where="train.writers",
                fix=nearest(name, writers),
            )


def require_whole_batches(task: Task, config: Config) -> None:
    """Raises ConfigError where a task compares the rows of a batch that is worked off in parts."""
    parts = config.train.gradient_accumulation_steps
    if parts > 1 and task.compares_rows:
        raise ConfigError(
            109,
            f"the task '{config.task.name}' compares the rows of a batch, which is worked off in "
            f"{parts} parts",
            where="train.gradient_accumulation_steps",
            fix="train.gradient_accumulation_steps=1, or a task.loss of each row alone",
        )

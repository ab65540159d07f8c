"""What a pretraining run cannot do, said before it starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmjax.core.errors import ConfigError
from mmjax.models.pretraining import Pretraining
from mmjax.train.config import Config


def require_objectives_work(module: Pretraining, config: Config) -> None:
    """Raises ConfigError for a batch without negatives, and an average that is not kept."""
    for name, objective in module.objectives.items():
        if objective.batch_coupled and config.data.batch_size < 2:
            raise ConfigError(
                109,
                f"the objective '{name}' compares the rows of a batch, which has one",
                where="data.batch_size",
                fix="2 or more; hundreds are usual",
            )
    if module.uses_momentum and not config.train.ema_decay:
        raise ConfigError(
            109,
            "an objective encodes with averaged parameters, and none are kept",
            where="train.ema_decay",
            fix="train.ema_decay=0.995",
        )


def require_no_batch_statistics(collections: Mapping[str, Any]) -> None:
    """Raises ConfigError where a micro-batch cannot be encoded a second time with one result."""
    if "batch_stats" in collections:
        raise ConfigError(
            109,
            "encoders with batch statistics cannot work off a batch of coupled rows in parts",
            where="train.gradient_accumulation_steps",
            fix="train.gradient_accumulation_steps=1, or encoders without batch normalisation",
        )

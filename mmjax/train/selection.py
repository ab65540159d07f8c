"""The metric that chooses among checkpoints, and which way is up."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from mmjax.core.errors import ConfigError, nearest

_LOWER = re.compile(
    r"(^|[_/])(loss|ece|brier|error|mae|mse|rmse|pinball|perplexity|wer|cer|mean_rank|median_rank)$"
)


def mode_of(metric: str) -> Literal["min", "max"]:
    """ "min" for a loss, an error or a calibration error, "max" for every other metric."""
    return "min" if _LOWER.search(metric) else "max"


def require_metric(metric: str, found: Iterable[str]) -> None:
    """Raises ConfigError if validation does not give `train.best_metric`."""
    names = list(found)
    if metric not in names:
        raise ConfigError(
            109,
            f"validation gives no '{metric}'",
            where="train.best_metric",
            fix=nearest(metric, [name for name in names if "/" not in name] or names),
        )

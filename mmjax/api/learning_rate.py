"""The learning-rate range test: the training step itself, at rates that grow."""

from __future__ import annotations

import dataclasses
import logging
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.api.cross_validation import prepared
from mmjax.core import config as config_lib
from mmjax.core.errors import ConfigError, NumericError
from mmjax.core.files import atomic, write_json
from mmjax.parallel.distributed import initialize
from mmjax.parallel.sharding import put_batch
from mmjax.report import ranges as report
from mmjax.train.config import Config
from mmjax.train.loading import load
from mmjax.train.trainer import Trainer
from mmjax.train.warm_start import with_encoders

log = logging.getLogger(__name__)

_SMOOTHING = 0.95
_DIVERGED = 4.0
"""Times the best smoothed loss at which a test ends."""
_FIRST, _LAST = 5, 2
"""Steps at both ends, where nothing has been learnt yet or the loss has begun to rise."""

Told = Callable[[int, float], None]
"""Called with the steps that are done, and the last loss."""


@dataclasses.dataclass(frozen=True)
class RangeTest:
    """Losses by learning rate, and the rate at which the loss falls fastest."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smooth: tuple[float, ...]
    suggestion: float
    lowest: float
    """The rate at which the smoothed loss is lowest; a tenth of it is another common choice."""
    diverged: bool
    """Whether the test ended since the loss had grown, and not at the highest rate."""

    def as_json(self) -> dict[str, Any]:
        return {
            "suggestion": self.suggestion,
            "lowest": self.lowest,
            "diverged": self.diverged,
            "rates": list(self.rates),
            "losses": list(self.losses),
            "smooth": list(self.smooth),
        }


def smoothed(losses: Sequence[float], smoothing: float = _SMOOTHING) -> list[float]:
    """The exponential mean, corrected for its start at 0 (Kingma and Ba 2015, section 3)."""
    mean, found = 0.0, []
    for step, loss in enumerate(losses, 1):
        mean = smoothing * mean + (1 - smoothing) * loss
        found.append(mean / (1 - smoothing**step))
    return found


def steepest(rates: Sequence[float], smooth: Sequence[float]) -> float:
    """The rate at which the loss falls fastest over the rate's logarithm, before it is lowest.

    Raises NumericError where the loss nowhere falls.
    """
    values, logs = np.asarray(smooth, np.float64), np.log(np.asarray(rates, np.float64))
    end = max(int(values.argmin()) + 1, 2)
    slopes = np.gradient(values, logs)
    first = min(_FIRST, max(end - 2, 0))
    at = first + int(slopes[first:end].argmin())
    if slopes[at] >= 0:
        raise NumericError(
            702,
            "the loss falls at no learning rate",
            where=f"from {rates[0]:g} to {rates[-1]:g}",
            fix="look at the data, or begin at a lower rate",
        )
    return float(rates[at])


def find_learning_rate(
    config: Config,
    *,
    low: float = 1e-7,
    high: float = 1.0,
    steps: int = 100,
    frame: Any = None,
    told: Told | None = None,
) -> RangeTest:
    """Trains from scratch for `steps` steps, at rates that grow from `low` to `high` by one factor.

    It is the step that training takes, with its batches, clipping, decay and accumulation, and
    rates by parameter (`optimizer.multipliers`) as they will be. It ends where the loss is not a
    number or has grown to several times its best (Smith 2017, "Cyclical learning rates", section
    3.3). Nothing is written. Raises ConfigError for a range that is none, NumericError where the
    loss nowhere falls.
    """
    if not 0 < low < high or steps < 4:
        raise ConfigError(
            106, f"low = {low}, high = {high}, steps = {steps}", fix="0 < low < high, 4 steps"
        )
    initialize()
    config = with_encoders(config_lib.check(config))
    config = dataclasses.replace(
        config,
        train=dataclasses.replace(
            config.train, duration=f"{steps} steps", ema_decay=0.0, average_from=""
        ),
    )
    factor = math.log(high / low) / (steps - 1)

    def schedule(step: Any) -> Any:
        return low * jnp.exp(factor * jnp.asarray(step, jnp.float32))

    dataset = prepared(config, frame)
    trainer = Trainer.build(config, dataset, schedule)
    trainer.begin()
    rates: list[float] = []
    losses: list[float] = []
    diverged = False
    with load(trainer.dataset, "train", trainer.mesh, train=True, seed=config.seed) as loader:
        for step in range(steps):
            placed = put_batch(next(loader), trainer.mesh)
            trainer.state, values = trainer.step(trainer.state, placed)
            loss, rate = jax.device_get((values["loss"], values["learning_rate"]))
            diverged = not math.isfinite(float(loss))
            if diverged:
                break
            rates.append(float(rate))
            losses.append(float(loss))
            if told is not None:
                told(step + 1, losses[-1])
            smooth = smoothed(losses)
            diverged = step >= _FIRST and smooth[-1] > _DIVERGED * max(min(smooth), 1e-12)
            if diverged:
                break
    smooth = smoothed(losses)
    if len(rates) < 4:
        raise NumericError(
            702, f"the loss is not finite at a learning rate of {low:g}", fix="begin lower"
        )
    kept = smooth[:-_LAST] if diverged and len(smooth) > 4 + _LAST else smooth
    return RangeTest(
        tuple(rates),
        tuple(losses),
        tuple(smooth),
        steepest(rates[: len(kept)], kept),
        rates[int(np.argmin(smooth))],
        diverged,
    )


def find_learning_rate_into(
    config: Config, folder: str | os.PathLike, **options: Any
) -> tuple[RangeTest, Path]:
    """`find_learning_rate`, written to `learning_rate.json` and `.png` in a folder."""
    found, path = find_learning_rate(config, **options), Path(folder)
    write_json(path / "learning_rate.json", found.as_json())
    with atomic(path / "learning_rate.png", "wb") as file:
        file.write(report.draw(found.rates, found.losses, found.smooth, found.suggestion))
    return found, path

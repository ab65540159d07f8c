"""Anomalies: how far off a row is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from mmjax.core.errors import ConfigError, nearest
from mmjax.core.typing import Array, Float
from mmjax.explain.scores.base import Choice, Scale, Score, Seen, taken
from mmjax.tasks.anomaly_scores import AnomalyScores

_BEFORE = "score/"


class Alarm(Score):
    """The anomaly score of a row: the mean, or the largest, of the standardised scores of its
    parts; or the score of one part, by its name.
    """

    about = "the anomaly score of the row"

    def fits(self, task: Any) -> bool:
        return isinstance(task, AnomalyScores)

    def choose(self, seen: Seen, of: str | int | None) -> Choice:
        names = _parts(seen)
        place = -1
        if of is not None:
            if of not in names:
                raise ConfigError(
                    109,
                    f"nothing called '{of}' to explain",
                    where="of",
                    fix=nearest(str(of), names),
                )
            place = names.index(str(of))
        rows = seen.predictions[_BEFORE + names[0]].shape[0]
        return jnp.full((rows,), place, jnp.int32)

    def score(self, seen: Seen, choice: Choice, scale: Scale) -> Float[Array, "b"]:
        task, names = seen.task, _parts(seen)
        means = [float(task.score_means.get(name, 0.0)) for name in names]
        spread = [float(task.score_deviations.get(name, 1.0)) for name in names]
        raw = jnp.stack([seen.predictions[_BEFORE + name] for name in names], axis=1)
        here = jnp.isfinite(raw)
        raw = jnp.where(here, raw, 0.0)
        each = jnp.where(here, (raw - jnp.asarray(means)) / jnp.asarray(spread), 0.0)
        if task.combine == "max":
            total = jnp.where(here, each, -jnp.inf).max(axis=1)
            total = jnp.where(here.any(axis=1), total, 0.0)
        else:
            total = each.sum(axis=1) / jnp.maximum(here.sum(axis=1), 1)
        return jnp.where(choice >= 0, taken(raw, jnp.maximum(choice, 0)), total)

    def told(self, task: Any, choice: Choice, answers: Sequence[Mapping[str, Any]]) -> list[str]:
        own = np.asarray(choice) >= 0
        return ["anomaly score of a part" if one else "anomaly score" for one in own]


def _parts(seen: Seen) -> list[str]:
    return sorted(n.removeprefix(_BEFORE) for n in seen.predictions if n.startswith(_BEFORE))

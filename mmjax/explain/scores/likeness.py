"""Runs of objectives: how alike the modalities of a row are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from mmjax.core.errors import ConfigError
from mmjax.core.typing import Array, Float
from mmjax.explain.scores.base import Choice, Scale, Score, Seen
from mmjax.objectives.results import Results


class Likeness(Score):
    """The mean cosine of the vectors of a row's modalities in the joint space, over their pairs."""

    about = "the mean cosine of the row's modalities in the joint space"

    def fits(self, task: Any) -> bool:
        return isinstance(task, Results) and len(task.modalities) > 1

    def choose(self, seen: Seen, of: str | int | None) -> Choice:
        if of is not None:
            raise ConfigError(109, f"nothing called '{of}' to explain", where="of", fix="no name")
        return jnp.zeros(next(iter(seen.outputs.values())).shape[:1], jnp.int32)

    def score(self, seen: Seen, choice: Choice, scale: Scale) -> Float[Array, "b"]:
        vectors = jnp.stack([one.astype(jnp.float32) for one in seen.outputs.values()], axis=1)
        # Absent ones are 0, of unit length the rest: with n of them, |sum|^2 is n plus their pairs.
        count = (jnp.abs(vectors).max(axis=-1) > 0).sum(axis=1)
        whole = jnp.square(vectors.sum(axis=1)).sum(axis=-1)
        return (whole - count) / jnp.maximum(count * (count - 1), 1)

    def told(self, task: Any, choice: Choice, answers: Sequence[Mapping[str, Any]]) -> list[str]:
        return [f"cosine of {' and '.join(task.modalities)}"] * len(choice)

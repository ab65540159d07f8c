"""Items of a catalogue: how far the first one is above the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from mmjax.core.typing import Array, Float
from mmjax.explain.scores.base import Choice, Scale, Score, Seen, named
from mmjax.tasks.recommendation import Recommendation


class FirstItem(Score):
    """The score of the item that is recommended first, less the mean of the catalogue.

    What is added to the scores of all items changes no ranking. The vectors of items are held.
    """

    about = "the score of the item that comes first, less the mean over the catalogue"

    def fits(self, task: Any) -> bool:
        return isinstance(task, Recommendation)

    def names(self, task: Any) -> tuple[str, ...]:
        return tuple(task.item_names)

    def choose(self, seen: Seen, of: str | int | None) -> Choice:
        first = seen.predictions["items"][:, 0].astype(jnp.int32)
        return first if of is None else jnp.full_like(first, self.place(seen.task, of))

    def score(self, seen: Seen, choice: Choice, scale: Scale) -> Float[Array, "b"]:
        users, vectors, bias = (jnp.asarray(one, jnp.float32) for one in seen.outputs)
        apart = vectors[choice] - vectors.mean(axis=0)
        return (users * apart).sum(axis=-1) + bias[choice] - bias.mean()

    def told(self, task: Any, choice: Choice, answers: Sequence[Mapping[str, Any]]) -> list[str]:
        return [f"score of {self.says(task, one)}" for one in np.asarray(choice)]

    def says(self, task: Any, choice: Choice) -> str | None:
        return named(task.item_names, int(choice), "item")

"""Objects in a picture: the label of the surest box."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from mmjax.core.typing import Array, Float
from mmjax.explain.scores.base import Choice, Scale, Score, Seen, named, of_one
from mmjax.tasks.detection import Detection


class SurestBox(Score):
    """The log-odds of the label of the surest box, or of the surest one of a label, against all
    other labels and "no object". The box is held by its query.
    """

    about = "the log-odds of the label of the surest box"
    has_probability: ClassVar[bool] = True

    def fits(self, task: Any) -> bool:
        return isinstance(task, Detection)

    def names(self, task: Any) -> tuple[str, ...]:
        return tuple(task.box_names)

    def choose(self, seen: Seen, of: str | int | None) -> Choice:
        chances = jax.nn.softmax(_logits(seen))[..., :-1]
        if of is not None:
            label = self.place(seen.task, of)
            query = chances[..., label].argmax(axis=1)
            return {"query": query, "label": jnp.full_like(query, label)}
        query = chances.max(axis=-1).argmax(axis=1)
        own = jnp.take_along_axis(chances, query[:, None, None], axis=1)[:, 0]
        return {"query": query, "label": own.argmax(axis=-1)}

    def score(self, seen: Seen, choice: Choice, scale: Scale) -> Float[Array, "b"]:
        logits = _logits(seen)
        own = jnp.take_along_axis(logits, choice["query"][:, None, None], axis=1)[:, 0]
        return of_one(own, choice["label"], scale)

    def told(self, task: Any, choice: Choice, answers: Sequence[Mapping[str, Any]]) -> list[str]:
        labels = np.asarray(choice["label"]).tolist()
        return [f"log-odds of the surest {named(task.box_names, one, 'label')}" for one in labels]

    def says(self, task: Any, choice: Choice) -> str | None:
        return named(task.box_names, int(choice["label"]), "label")


def _logits(seen: Seen) -> Float[Array, "b q v"]:
    return seen.outputs["logits"][-1].astype(jnp.float32)

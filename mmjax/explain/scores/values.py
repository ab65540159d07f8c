"""Real numbers: the predicted value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from mmjax.core.typing import Array, Float
from mmjax.explain.scores.base import Choice, Scale, Score, Seen, taken


class Value(Score):
    """The value of the first target, in its own unit, or of another by its name."""

    about = "the predicted value"

    def fits(self, task: Any) -> bool:
        return getattr(task, "outputs_are", None) == "values"

    def names(self, task: Any) -> tuple[str, ...]:
        return tuple(getattr(task, "target_names", ()))

    def choose(self, seen: Seen, of: str | int | None) -> Choice:
        rows = self._values(seen).shape[0]
        return jnp.full((rows,), 0 if of is None else self.place(seen.task, of), jnp.int32)

    def score(self, seen: Seen, choice: Choice, scale: Scale) -> Float[Array, "b"]:
        return taken(self._values(seen), choice)

    def _values(self, seen: Seen) -> Float[Array, "b v"]:
        values = jnp.asarray(seen.predictions.get("values", seen.outputs), jnp.float32)
        return values.reshape(values.shape[0], -1)

    def told(self, task: Any, choice: Choice, answers: Sequence[Mapping[str, Any]]) -> list[str]:
        names = self.names(task)
        places = np.asarray(choice).tolist()
        return [names[one] if one < len(names) else "the predicted value" for one in places]

"""The number of a row that is explained, of any task."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from mmjax.core.errors import ConfigError, nearest
from mmjax.core.types import Batch, TaskOutput
from mmjax.core.typing import Array, Float, Int
from mmjax.tasks.base import Task
from mmjax.tasks.generation import Generation

Scale = Literal["score", "probability"]
"""The score itself, or the probability that it stands for, where there is one."""

Choice = Any
"""What of each row is explained, held while its inputs change: places of outputs, or ids."""


@dataclasses.dataclass(frozen=True)
class Seen:
    """What a model made of a batch: the outputs of its (first) task, and the whole."""

    task: Task
    outputs: Any
    whole: TaskOutput


def look(apply: Callable[[], TaskOutput], task: Task, *, write: bool = False) -> Seen:
    """Runs `apply` and keeps what its task was told, before losses and predictions.

    Of several tasks the first; of heads that are combined, the combination. A task that writes
    texts does so only with `write`.
    """
    found: list[tuple[Task, Any]] = []

    def note(
        next_fun: Callable[..., Any], args: tuple, kwargs: dict[str, Any], context: Any
    ) -> Any:
        module = context.module
        if isinstance(module, Task) and context.method_name == "output" and not found:
            if getattr(type(module), "of_parts", False):
                return next_fun(*args, **kwargs)
            found.append((module.clone(parent=None), args[0]))
        if context.method_name == "_written" and isinstance(module, Generation) and not write:
            return {}
        return next_fun(*args, **kwargs)

    with nn.intercept_methods(note):
        whole = apply()
    own, outputs = found[0] if found else (task, None)
    return Seen(own, outputs, whole)


def choose(seen: Seen, of: str | int | None = None) -> Choice:
    """What is explained of each row: what the model itself says, or `of`, a class by name or
    number, for all rows. Raises ConfigError for a name that the task does not have.
    """
    kind = seen.task.outputs_are
    rows = jax.tree.leaves(seen.whole.predictions)[0].shape[0]
    if isinstance(seen.task, Generation):
        ids, lengths = (seen.whole.predictions[name] for name in ("ids", "lengths"))
        return jnp.where(jnp.arange(ids.shape[1]) < lengths[:, None], ids, -1)
    if of is not None:
        return jnp.full((rows,), place_of(seen.task, of), jnp.int32)
    if kind == "values":
        return jnp.zeros((rows,), jnp.int32)
    if kind in ("classes", "labels"):
        return jnp.argmax(seen.outputs, axis=-1).astype(jnp.int32)
    return jax.tree.map(lambda leaf: jnp.argmax(leaf, axis=-1), _numbers(seen))


def place_of(task: Task, of: str | int) -> int:
    """The number of a class, label or target by its name. Raises ConfigError for another."""
    names = names_of(task)
    if isinstance(of, str) and of in names:
        return names.index(of)
    if isinstance(of, int) and (not names or 0 <= of < len(names)):
        return of
    raise ConfigError(
        109, f"nothing called '{of}' to explain", where="of", fix=nearest(str(of), names)
    )


def names_of(task: Task) -> tuple[str, ...]:
    """What the task's outputs are called."""
    return tuple(getattr(task, "label_names", ()) or getattr(task, "target_names", ()))


def score(seen: Seen, choice: Choice, scale: Scale = "score") -> Float[Array, "b"]:
    """The score of what was chosen, a number a row in float32.

    Of classes the logit less the mean of all, since a softmax is the same whatever is added to
    all of them (Shrikumar et al. 2017, section 3.6); of labels the logit; as a probability their
    softmax or sigmoid. Of values the first (or chosen) one; of other heads the mean of the numbers
    that were the largest.
    """
    kind = seen.task.outputs_are
    if kind == "values":
        values = jnp.asarray(seen.whole.predictions.get("values", seen.outputs), jnp.float32)
        return _taken(values.reshape(values.shape[0], -1), choice)
    if kind in ("classes", "labels"):
        logits = jnp.asarray(seen.outputs, jnp.float32)
        if scale == "score" and kind == "classes":
            logits = logits - logits.mean(axis=-1, keepdims=True)
        if scale == "probability":
            logits = jax.nn.softmax(logits) if kind == "classes" else jax.nn.sigmoid(logits)
        return _taken(logits, choice)
    parts = jax.tree.leaves(jax.tree.map(_taken, _numbers(seen), choice))
    return jnp.stack(parts).mean(axis=0)


def of_text(batch: Batch, ids: Choice, target: str) -> Batch:
    """The batch with a text as what should be written, so that the loss is of it."""
    return dataclasses.replace(batch, targets={**batch.targets, target: ids})


def _numbers(seen: Seen) -> Any:
    """The numbers that heads of another kind choose by: of an output, or of predictions."""
    found = seen.outputs if seen.outputs is not None else dict(seen.whole.predictions)
    rows = jax.tree.leaves(seen.whole.predictions)[0].shape[0]
    kept = {
        str(index): leaf.astype(jnp.float32)
        for index, leaf in enumerate(jax.tree.leaves(found))
        if jnp.issubdtype(leaf.dtype, jnp.floating) and leaf.ndim > 1 and leaf.shape[0] == rows
    }
    if not kept:
        raise ConfigError(
            109,
            f"{type(seen.task).__name__} gives no numbers that an input could be asked about",
            where="task",
            fix="explain a run of another task",
        )
    return kept


def _taken(values: Float[Array, "b ... c"], places: Int[Array, "b ..."]) -> Float[Array, "b"]:
    found = jnp.take_along_axis(values, places[..., None], axis=-1)
    return found.reshape(found.shape[0], -1).mean(axis=1)


def told(task: Task, choice: Choice, written: Mapping[int, str], count: int) -> list[str]:
    """What is explained of each row, in words."""
    if isinstance(task, Generation):
        return [f"log-probability of '{written.get(row, '')}'" for row in range(count)]
    names, kind = names_of(task), task.outputs_are
    if kind == "values":
        return [_name(names, int(place)) or "the predicted value" for place in np.asarray(choice)]
    if kind in ("classes", "labels") and np.asarray(choice).ndim == 1:
        return [f"logit of {_name(names, int(p)) or f'class {p}'}" for p in np.asarray(choice)]
    return ["the largest outputs"] * count


def _name(names: tuple[str, ...], place: int) -> str:
    return names[place] if place < len(names) else ""

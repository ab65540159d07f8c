"""What a model makes of a batch, as scores want it: the outputs of one task, and the whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from flax import linen as nn

from mmjax.core.types import Batch, TaskOutput
from mmjax.explain.scores.base import Choice, Seen
from mmjax.tasks.base import Task
from mmjax.tasks.generation import Generation

_TOLD = ("output", "rank")
"""The methods by which a task is told of outputs; the batch is their last argument."""


def look(
    apply: Callable[[], TaskOutput],
    task: Any,
    batch: Batch,
    *,
    part: str | None = None,
    write: bool = False,
) -> Seen:
    """Runs `apply` and keeps what its task was told, before losses and predictions.

    Of several tasks the one called `part`; of heads that are combined, the combination. A task that
    writes texts does so only with `write`.
    """
    found: list[tuple[Task, Any, Batch]] = []

    def note(
        next_fun: Callable[..., Any], args: tuple, kwargs: dict[str, Any], context: Any
    ) -> Any:
        module, name = context.module, context.method_name
        if isinstance(module, Task) and name in _TOLD and not found:
            if getattr(type(module), "of_parts", False):
                return next_fun(*args, **kwargs)
            if part is None or module.name == f"parts_{part}":
                outputs = args[0] if name == "output" else args[:-1]
                found.append((module.clone(parent=None), outputs, args[-1]))
        if name == "written" and isinstance(module, Generation) and not write:
            return {}
        return next_fun(*args, **kwargs)

    with nn.intercept_methods(note):
        whole = apply()
    own, outputs, told = found[0] if found else (task, None, batch)
    return Seen(own, outputs, _of_part(whole.predictions, part), told, whole)


def _of_part(predictions: Mapping[str, Any], part: str | None) -> dict[str, Any]:
    before = "" if part is None else f"{part}/"
    return {n.removeprefix(before): one for n, one in predictions.items() if n.startswith(before)}


def of_text(batch: Batch, ids: Choice, target: str) -> Batch:
    """The batch with a text as what should be written, so that the loss is of it."""
    return dataclasses.replace(batch, targets={**batch.targets, target: ids})

"""The head that most tasks share: from `Fused.pooled` to numbers."""

from __future__ import annotations

import jax.numpy as jnp
from flax import linen as nn

from mmjax.core.registry import fact
from mmjax.core.types import Fused
from mmjax.core.typing import Array, Dtype, Float
from mmjax.nn.dense import ACTIVATIONS, Activation, dense
from mmjax.tasks.base import Task


class PooledTask(Task, kw_only=True):
    """A task whose head is dropout and a dense layer, with `hidden` an MLP of that width."""

    dropout: float = 0.0
    hidden: int = 0
    activation: Activation = "gelu"
    dtype: Dtype = fact(jnp.float32)
    param_dtype: Dtype = fact(jnp.float32)


def pooled_head(
    task: PooledTask, fused: Fused, outputs: int, *, train: bool
) -> Float[Array, "b outputs"]:
    """The head of a task, to be called in its compact method."""
    types = {"dtype": task.dtype, "param_dtype": task.param_dtype}
    seen = fused.pooled
    if task.hidden:
        seen = dense(task.hidden, ("embed", "mlp"), name="hidden", **types)(seen)
        seen = ACTIVATIONS[task.activation](seen)
    seen = nn.Dropout(task.dropout, deterministic=not train)(seen)
    axes = ("mlp" if task.hidden else "embed", "labels")
    return dense(outputs, axes, name="head", **types)(seen)

"""A model that writes texts as two programs: the first token, and one token more."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import export as jax_export

from mmjax.checkpoint.trees import nest
from mmjax.core.typing import Array
from mmjax.export.tracing import Fields, batch_of, shape_of
from mmjax.export.variants import restored
from mmjax.generate.config import GenerationConfig
from mmjax.tasks.generation import Generation
from mmjax.tasks.writing import Writing, go_on

State = tuple[Array, ...]
"""What goes from step to step, the cache among it: keys of draws as their numbers."""


@dataclasses.dataclass(frozen=True)
class Steps:
    """Of a bucket: `begin(parameters, fields)` and `proceed(parameters, state)`, each of which
    gives `state`, the new `ids` [1 n], their number `count` and whether the text is `going` on.
    """

    bucket: tuple[int, ...]
    begin: bytes
    proceed: bytes


def can_stream(module: Any) -> bool:
    """Whether a model writes one text, a token after the other."""
    task = getattr(module, "task", None)
    if not isinstance(task, Generation):
        return False
    settings: GenerationConfig = task.settings
    return settings.num_beams == 1 and settings.num_return_sequences == 1


def trace_steps(
    module: Any,
    dtypes: Mapping[str, Any],
    parameters: Mapping[str, Any],
    make_fields: Callable[[tuple[int, ...], int], Fields],
    buckets: Sequence[tuple[int, ...]],
    *,
    platforms: Sequence[str],
) -> list[Steps]:
    """The programs of every bucket, for one text at a time."""
    shapes = {path: shape_of(value) for path, value in parameters.items()}
    found = []
    for bucket in buckets:
        fields = jax.tree.map(shape_of, make_fields(bucket, 1))
        steps = _Steps(module, dtypes)
        begin = jax_export.export(jax.jit(steps.begin), platforms=tuple(platforms))(shapes, fields)
        state = jax.tree.unflatten(begin.out_tree, begin.out_avals)["state"]
        given = tuple(jax.ShapeDtypeStruct(one.shape, one.dtype) for one in state)
        proceed = jax_export.export(jax.jit(steps.proceed), platforms=tuple(platforms))(
            shapes, given
        )
        found.append(Steps(bucket, bytes(begin.serialize()), bytes(proceed.serialize())))
    return found


class _Steps:
    """Both functions of one bucket; the second is traced after the first, whose tree it has."""

    def __init__(self, module: Any, dtypes: Mapping[str, Any]):
        self._module, self._dtypes = module, dtypes
        self._tree: Any = None
        self._keys: list[Any] = []

    def begin(self, parameters: Mapping[str, Any], fields: Fields) -> dict[str, Any]:
        variables = nest(restored(parameters, self._dtypes))
        begun: list[Writing] = []

        def instead(
            next_fun: Callable[..., Any], args: tuple, kwargs: dict[str, Any], context: Any
        ) -> Any:
            if not isinstance(context.module, Generation) or context.method_name != "written":
                return next_fun(*args, **kwargs)
            begun.append(context.module.begun(*args, **kwargs))
            return {}

        with nn.intercept_methods(instead):
            self._module.apply(variables, batch_of(fields), train=False)
        return self._told(begun[0])

    def proceed(self, parameters: Mapping[str, Any], state: State) -> dict[str, Any]:
        task = self._module.task
        variables = nest(restored(parameters, self._dtypes))
        leaves = [
            one if impl is None else jax.random.wrap_key_data(one, impl=impl)
            for one, impl in zip(state, self._keys, strict=True)
        ]
        writing: Writing = jax.tree.unflatten(self._tree, leaves)
        own = variables["params"]["task"]["decoder"]
        return self._told(go_on(task.reader(), own, task.settings, writing, writing.count + 1))

    def _told(self, writing: Writing) -> dict[str, Any]:
        leaves, self._tree = jax.tree.flatten(writing)
        keyed = [jnp.issubdtype(one.dtype, jax.dtypes.prng_key) for one in leaves]
        self._keys = [
            jax.random.key_impl(one) if is_key else None
            for one, is_key in zip(leaves, keyed, strict=True)
        ]
        state = tuple(
            jax.random.key_data(one) if is_key else one
            for one, is_key in zip(leaves, keyed, strict=True)
        )
        told = {"ids": writing.ids, "count": writing.count, "going": writing.going}
        return {"state": state, **told}

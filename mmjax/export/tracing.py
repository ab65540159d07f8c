"""A model as StableHLO for several platforms at once, its parameters being arguments."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import export as jax_export

from mmjax.checkpoint.trees import nest
from mmjax.core.errors import ConfigError
from mmjax.core.types import Batch, Fused
from mmjax.export.variants import restored
from mmjax.models.pretraining import Pretraining

PLATFORMS = ("cpu", "cuda", "tpu")
BATCH_SIZES = (1, 2, 4, 8, 16, 32)
FEW_SIZES = (1, 4, 16)
"""Of a model that must be traced for each size."""

WEIGHTS = "modality_weights"
"""An output beside the predictions, where the fusion gives the modalities weights."""

_log = logging.getLogger(__name__)

Fields = Mapping[str, Any]
"""`inputs`, `present` and `row_mask` of a batch."""


@dataclasses.dataclass(frozen=True)
class Traced:
    """One program: of a bucket, for every batch size or for one."""

    bucket: tuple[int, ...]
    size: int | None
    content: bytes
    outputs: tuple[tuple[str, str, tuple[int, ...]], ...]
    """Name, dtype and shape without the batch."""


def forward(module: Any, dtypes: Mapping[str, Any]) -> Callable[..., dict[str, Any]]:
    """`(parameters by path, fields) -> predictions` of a model with a task; of a pretrained one the
    vector of each modality, 0 where a row lacks it, and that of all that it has.
    """
    if isinstance(module, Pretraining):
        return functools.partial(_embedded, module, dtypes)

    def predict(parameters: Mapping[str, Any], fields: Fields) -> dict[str, Any]:
        batch = batch_of(fields)
        variables = nest(restored(parameters, dtypes))
        weights: list[Any] = []

        def watch(
            next_fun: Callable[..., Any], args: tuple, kwargs: dict[str, Any], context: Any
        ) -> Any:
            made = next_fun(*args, **kwargs)
            if isinstance(made, Fused) and made.modality_weights is not None:
                weights.append(made.modality_weights)
            return made

        with nn.intercept_methods(watch):
            predictions = dict(module.apply(variables, batch, train=False).predictions)
        # What the fusion gave each modality, in the config's order, for whoever looks at an answer.
        return {WEIGHTS: weights[-1], **predictions} if weights else predictions

    return predict


def _embedded(
    module: Pretraining, dtypes: Mapping[str, Any], parameters: Mapping[str, Any], fields: Fields
) -> dict[str, Any]:
    variables = nest(restored(parameters, dtypes))
    found: Any = module.apply(variables, batch_of(fields), method=Pretraining.embed)
    present = {name: jnp.asarray(one)[:, None] for name, one in fields["present"].items()}
    anything = functools.reduce(jnp.logical_or, present.values())
    return {name: jnp.where(present.get(name, anything), one, 0) for name, one in found.items()}


def batch_of(fields: Fields) -> Batch:
    """A batch without targets."""
    rows = fields["row_mask"].shape[0]
    return Batch(
        inputs=fields["inputs"],
        present=fields["present"],
        targets={},
        row_mask=fields["row_mask"],
        row=jnp.arange(rows, dtype=jnp.int32),
    )


def trace(
    function: Callable[..., dict[str, Any]],
    parameters: Mapping[str, Any],
    make_fields: Callable[[tuple[int, ...], int], Fields],
    buckets: Sequence[tuple[int, ...]],
    *,
    platforms: Sequence[str] = PLATFORMS,
    batch_sizes: Sequence[int] | None = None,
) -> tuple[list[Traced], tuple[int, ...]]:
    """The programs of all buckets, and the batch sizes that they are for.

    One program a bucket serves every size, where the model can be traced without knowing it;
    otherwise there is one a size. `make_fields(bucket, size)` gives an empty batch. Raises
    ConfigError for a platform that there is not, and one that the model cannot be lowered for.
    """
    unknown = [one for one in platforms if one not in (*PLATFORMS, "rocm")]
    if unknown or not platforms:
        raise ConfigError(
            106, f"platforms {list(platforms)}", where="platforms", fix=", ".join(PLATFORMS)
        )
    sizes = tuple(sorted(set(batch_sizes or BATCH_SIZES)))
    if sizes[0] < 1:
        raise ConfigError(106, f"batch sizes {list(sizes)}", where="batch_sizes", fix="1 or more")
    shapes = {path: shape_of(value) for path, value in parameters.items()}
    found: list[Traced] = []
    for bucket in buckets:
        one = None
        if len(sizes) > 1 and (not found or found[0].size is None):
            one = _any_size(function, shapes, make_fields(bucket, 2), platforms, bucket)
        if one is not None:
            found.append(one)
            continue
        sizes = tuple(sorted(set(batch_sizes or FEW_SIZES)))
        for size in sizes:
            fields = jax.tree.map(shape_of, make_fields(bucket, size))
            content, outputs = _lowered(function, shapes, fields, platforms)
            found.append(Traced(bucket, size, content, outputs))
    return found, sizes


def _any_size(
    function: Callable[..., dict[str, Any]],
    shapes: Mapping[str, Any],
    example: Fields,
    platforms: Sequence[str],
    bucket: tuple[int, ...],
) -> Traced | None:
    (size,) = jax_export.symbolic_shape("b")
    fields = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((size, *np.shape(leaf)[1:]), np.asarray(leaf).dtype),
        example,
    )
    try:
        content, outputs = _lowered(function, shapes, fields, platforms)
    except Exception as error:  # what a model asks of a size that is not known raises anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        _log.info("traced for each batch size, as no program serves all: %s", reason)
        return None
    return Traced(bucket, None, content, outputs)


def _lowered(
    function: Callable[..., dict[str, Any]],
    shapes: Mapping[str, Any],
    fields: Fields,
    platforms: Sequence[str],
) -> tuple[bytes, tuple[tuple[str, str, tuple[int, ...]], ...]]:
    made = jax_export.export(jax.jit(function), platforms=tuple(platforms))(dict(shapes), fields)
    found = jax.tree.unflatten(made.out_tree, made.out_avals)
    outputs = tuple(
        (name, str(found[name].dtype), tuple(int(n) for n in found[name].shape[1:]))
        for name in sorted(found)
    )
    return bytes(made.serialize()), outputs


def shape_of(leaf: Any) -> jax.ShapeDtypeStruct:
    """What a program is traced with in place of an array."""
    return jax.ShapeDtypeStruct(np.shape(leaf), jnp.asarray(leaf).dtype)

"""A loss of two modalities, over all pairs of several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import einops
import jax
import jax.numpy as jnp

from mmjax.core.errors import ConfigError
from mmjax.core.types import ObjectiveOutput
from mmjax.core.typing import Array, Bool, Float
from mmjax.objectives.base import Context, pairs, require_modalities

MASKED = -1e30
"""What stands for minus infinity among logits: its differences are finite."""

_WHOLE, _PART, _LEAST = 4096, 1024, 128
"""Rows whose similarities, 64 MiB, exist at once; of more, the most and the fewest at a time."""


def over_pairs(
    context: Context,
    modalities: Sequence[str],
    loss: Callable[[str, str, Bool[Array, "b"]], Float[Array, ""]],
    *,
    centre: str | None = None,
) -> ObjectiveOutput:
    """The mean of `loss(a, b, rows)` over the pairs that the batch has, each with its rows.

    `modalities` are those that are paired, all of the model's if there are none: each with each,
    or each with `centre` alone.
    """
    names = tuple(modalities) or tuple(context.modalities)
    centres = (centre,) if centre else ()
    require_modalities((*names, *centres), context.modalities, "objectives.modalities")
    if len(set(names)) < 2:
        raise ConfigError(
            109,
            f"pairs of {', '.join(names) or 'nothing'}",
            where="objectives.modalities",
            fix="two modalities at the least",
        )
    total = terms = jnp.zeros((), jnp.float32)
    sums = {}
    for a, b in pairs(names):
        if centre and centre not in (a, b):
            continue
        rows = context.rows(a, b)
        found = rows.sum().astype(jnp.float32)
        there = (found > 0).astype(jnp.float32)
        own = loss(a, b, rows)
        total, terms = total + own * there, terms + there
        sums[f"{a}_{b}_loss_sum"] = jax.lax.stop_gradient(own) * found
        sums[f"{a}_{b}_count"] = found
    mean = total / jnp.maximum(terms, 1.0)
    rows = context.rows().sum().astype(jnp.float32)
    sums |= {"loss_sum": jax.lax.stop_gradient(mean) * rows, "count": rows}
    return ObjectiveOutput(mean, rows, sums)


def cosines(a: Float[Array, "b e"], b: Float[Array, "m e"]) -> Float[Array, "b m"]:
    """The products of all rows, added up in float32."""
    return jnp.einsum("be,me->bm", a, b, preferred_element_type=jnp.float32)


def by_rows(function: Callable[..., Any], rows: Sequence[Array], chunk: int | None) -> Any:
    """`function(*rows)`, row by row in its results, with no more than `chunk` rows at a time.

    What it makes on the way is made again in the backward pass. The rows of a chunk lie across the
    batch, so each chunk is spread over the whole mesh. `chunk` is as in `chunk_of`.
    """
    size = rows[0].shape[0]
    chunk = chunk_of(chunk, size)
    if chunk == size:
        return function(*rows)
    parts = [einops.rearrange(x, "(c k) ... -> k c ...", c=chunk) for x in rows]
    found = jax.lax.map(lambda part: jax.checkpoint(function)(*part), parts)
    return jax.tree.map(lambda x: einops.rearrange(x, "k c ... -> (c k) ..."), found)


def mean_over(losses: Float[Array, "b"], rows: Bool[Array, "b"]) -> Float[Array, ""]:
    """Of the rows that count; 0 if none does."""
    return jnp.sum(jnp.where(rows, losses, 0.0)) / jnp.maximum(rows.sum(), 1)


def chunk_of(chunk: int | None, size: int) -> int:
    """How many of `size` rows are held against all of them at a time.

    The most rows that divide the batch, up to `chunk`: evaluation may have other batches than
    training. None is all of up to 4096 rows, else up to 1024 of them, if at least 128 divide it.
    Raises ConfigError where less than a quarter of `chunk` would be left.
    """
    if chunk is None:
        most = _divisor(size, _PART) if size > _WHOLE else size
        return most if most >= _LEAST else size
    found = _divisor(size, chunk) if chunk > 0 else 0
    if not found or (found < size and 4 * found < chunk):
        near = [n for n in range(1, size + 1) if size % n == 0]
        near = sorted(near, key=lambda n: abs(n - chunk))[:2]
        raise ConfigError(
            109,
            f"chunk={chunk} does not divide the batch of {size}",
            where="objectives.chunk",
            fix=f"the nearest valid: {' or '.join(map(str, sorted(near)))}",
        )
    return found


def _divisor(size: int, most: int) -> int:
    """The largest up to `most`."""
    return max(n for n in range(1, min(most, size) + 1) if size % n == 0)

"""Pooling of a row's vectors by their agreement in direction, in XLA and as one Pallas kernel.

For the vectors v_m of a row's present modalities, n of them:

    u_m = v_m / sqrt(|v_m|^2 + EPS)          c = (u_1 + ... + u_n) / n
    cos_m = u_m . c / sqrt(|c|^2 + EPS)      w = softmax(cos / temperature)
    pooled = w_1 v_1 + ... + w_n v_n

A single present vector has weight 1; a row without any gives 0. The formulas are written once, on
a block of rows: XLA compiles them as they are, and the kernel applies them to what it holds in
vector memory, so that each vector is read once forward and once backward.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

from mmjax.core.typing import Array, Float
from mmjax.kernels.partition import ROWS, split_kernel
from mmjax.kernels.platforms import per_platform

EPS = 1e-6
"""Added to squared norms: a vector of zeros has no direction, and no infinite gradient."""

Backend = Literal["xla", "pallas"]

_MASKED = -1e30
_VMEM = 6 * 2**20
"""Of the 16 MiB that a kernel gets by default, for the blocks of all operands."""
_SUBLANES, _LANES, _MOST_ROWS = 8, 128, 256


def cosine_pooling(
    vectors: Sequence[Float[Array, "b e"]],
    present: Float[Array, "b modality"],
    temperature: float | Float[Array, ""] = 1.0,
    *,
    backend: Backend | None = None,
) -> tuple[Float[Array, "b e"], Float[Array, "b modality"]]:
    """`pooled` and w, by the formulas above.

    `vectors` are in float32 and 0 where absent; `present` is 1 or 0. `backend` "pallas" is the
    kernel, interpreted off TPU; if None, the platform that the program is lowered for decides: the
    kernel on TPU where `serves` takes the shapes, XLA otherwise. Rows may be sharded. Only "xla"
    has forward-mode derivatives.
    """
    inverse = jnp.broadcast_to(1.0 / jnp.asarray(temperature, jnp.float32), present[:, :1].shape)
    if backend is None and not serves(vectors[0].shape[1], len(vectors)):
        backend = "xla"
    if backend == "xla":
        return _formulas(tuple(vectors), present, inverse)
    return _pool(backend, tuple(vectors), present, inverse)


def serves(width: int, modalities: int) -> bool:
    """Whether the kernel takes vectors of this width on TPU: whole tiles of 128, that fit."""
    return width % _LANES == 0 and _rows(width, modalities) > 0


def _formulas(vectors: tuple[Array, ...], present: Array, inverse: Array) -> tuple[Array, Array]:
    return _forward(vectors, present, inverse)[:2]


def _gradients(vectors, present, inverse, of_pooled, of_weights):
    of_vectors, _, of_inverse = jax.vjp(_formulas, vectors, present, inverse)[1](
        (of_pooled, of_weights)
    )
    return of_vectors, of_inverse


def _forward_call(interpret: bool, vectors, present, inverse) -> tuple[Array, Array]:
    operands = (*vectors, present, inverse)
    pooled, weights = _call(
        _forward_kernel, interpret, len(vectors), operands, (vectors[0], present)
    )
    return pooled, weights


def _backward_call(interpret: bool, vectors, present, inverse, of_pooled, of_weights):
    *of_vectors, of_inverse = _call(
        _backward_kernel,
        interpret,
        len(vectors),
        (*vectors, present, inverse, of_pooled, of_weights),
        (*vectors, inverse),
    )
    return tuple(of_vectors), of_inverse


def _call(
    kernel: Any,
    interpret: bool,
    modalities: int,
    operands: Sequence[Array],
    like: Sequence[Array],
) -> tuple[Array, ...]:
    """`kernel` on blocks of rows, its results shaped as `like`; each device has its own rows."""
    letters = {operands[0].shape[1]: "e", 1: "i"}

    def names(arrays: Sequence[Array]) -> list[str]:
        return [f"b {letters.get(one.shape[1], 'm')}" for one in arrays]

    def local(*operands: Array) -> tuple[Array, ...]:
        rows, width = operands[0].shape
        block = min(rows, max(_SUBLANES, _rows(width, modalities)))

        def spec(one: Any) -> pl.BlockSpec:
            return pl.BlockSpec((block, one.shape[1]), lambda i: (i, 0))

        shapes = [jax.ShapeDtypeStruct((rows, one.shape[1]), jnp.float32) for one in like]
        options: dict[str, Any] = {}
        if not interpret:
            from jax.experimental.pallas import tpu as pltpu

            options["compiler_params"] = pltpu.CompilerParams(dimension_semantics=("parallel",))
        return tuple(
            pl.pallas_call(
                kernel,
                grid=(pl.cdiv(rows, block),),
                in_specs=list(map(spec, operands)),
                out_specs=list(map(spec, shapes)),
                out_shape=shapes,
                interpret=interpret,
                name=f"cosine_pooling{kernel.__name__.removesuffix('_kernel')}",
                **options,
            )(*operands)
        )

    return split_kernel(local, names(operands), names(like), operands, {"b": ROWS})


_LOWERED = {
    (name, backend): per_platform(
        f"cosine_pooling_{name}_{backend or 'xla'}",
        functools.partial(kernel, True) if backend else formulas,
        tpu=functools.partial(kernel, False),
    )
    for name, formulas, kernel in (
        ("forward", _formulas, _forward_call),
        ("backward", _gradients, _backward_call),
    )
    for backend in (None, "pallas")
}


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _pool(
    backend: Backend | None, vectors: tuple[Array, ...], present: Array, inverse: Array
) -> tuple[Array, Array]:
    return _LOWERED["forward", backend](vectors, present, inverse)


def _pool_forward(backend, *operands):
    return _pool(backend, *operands), operands


def _pool_backward(backend, operands, cotangents):
    of_vectors, of_inverse = _LOWERED["backward", backend](*operands, *cotangents)
    return of_vectors, jnp.zeros_like(operands[1]), of_inverse


_pool.defvjp(_pool_forward, _pool_backward)


def _rows(width: int, modalities: int) -> int:
    """Rows of a block, in whole tiles of 8, by what the backward pass holds of each.

    Vectors, their gradients and the cotangent in float32; twice, as the next ones are fetched
    meanwhile. The few columns of a row fill 128 lanes each.
    """
    row = 2 * 4 * ((2 * modalities + 1) * width + 5 * _LANES)
    return min(_MOST_ROWS, _VMEM // row // _SUBLANES * _SUBLANES)


def _forward_kernel(*refs: Any) -> None:
    *vectors, present, inverse, pooled, weights = refs
    found = _forward([one[...] for one in vectors], present[...], inverse[...])
    pooled[...], weights[...] = found[:2]


def _backward_kernel(*refs: Any) -> None:
    count = (len(refs) - 5) // 2
    vectors, given, results = refs[:count], refs[count : count + 4], refs[count + 4 :]
    found = _backward([one[...] for one in vectors], *(one[...] for one in given))
    for ref, gradient in zip(results, found, strict=True):
        ref[...] = gradient


def _forward(
    vectors: Sequence[Array], present: Array, inverse_temperature: Array
) -> tuple[Array, Array, Any]:
    """`pooled`, w, and what the backward pass needs besides."""
    here = [present[:, place : place + 1] for place in range(len(vectors))]
    count = jnp.maximum(functools.reduce(jnp.add, here), 1.0)
    lengths = [
        jax.lax.rsqrt(_dot(one, one) + EPS) * h for one, h in zip(vectors, here, strict=True)
    ]
    centre = _weighted(vectors, lengths) / count
    of_centre = jax.lax.rsqrt(_dot(centre, centre) + EPS)
    cosines = [_dot(one, centre) * by * of_centre for one, by in zip(vectors, lengths, strict=True)]
    logits = [
        jnp.where(h > 0, one * inverse_temperature, _MASKED)
        for one, h in zip(cosines, here, strict=True)
    ]
    highest = functools.reduce(jnp.maximum, logits)
    shares = [
        jnp.where(h > 0, jnp.exp(one - highest), 0.0) for one, h in zip(logits, here, strict=True)
    ]
    total = functools.reduce(jnp.add, shares)
    weights = [one / jnp.where(total > 0, total, 1.0) for one in shares]
    return (
        _weighted(vectors, weights),
        jnp.concatenate(weights, axis=1),
        (count, lengths, centre, of_centre, cosines, weights),
    )


def _backward(
    vectors: Sequence[Array],
    present: Array,
    inverse_temperature: Array,
    of_pooled: Array,
    of_weights: Array,
) -> tuple[Array, ...]:
    """Gradients by each of `vectors`, and by `inverse_temperature`."""
    found = _forward(vectors, present, inverse_temperature)[2]
    count, lengths, centre, of_centre, cosines, weights = found
    places = range(len(vectors))
    units = [one * by for one, by in zip(vectors, lengths, strict=True)]
    direction = centre * of_centre
    shares = [_dot(of_pooled, vectors[m]) + of_weights[:, m : m + 1] for m in places]
    mean = _weighted(shares, weights)
    of_logits = [weights[m] * (shares[m] - mean) for m in places]
    of_cosines = [one * inverse_temperature for one in of_logits]
    of_direction = _weighted(units, of_cosines)
    inward = direction * _dot(direction, of_direction)
    of_units = (of_direction - inward) * of_centre / count
    gradients = []
    for m in places:
        of_unit = of_cosines[m] * direction + of_units
        tangent = of_unit - units[m] * _dot(units[m], of_unit)
        gradients.append(weights[m] * of_pooled + lengths[m] * tangent)
    return (*gradients, _weighted(of_logits, cosines))


def _dot(a: Array, b: Array) -> Array:
    return jnp.sum(a * b, axis=1, keepdims=True)


def _weighted(arrays: Sequence[Array], weights: Sequence[Array]) -> Array:
    products = [one * weight for one, weight in zip(arrays, weights, strict=True)]
    return functools.reduce(jnp.add, products)

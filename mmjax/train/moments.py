"""Optimiser state in fewer bytes: moments in bfloat16, or in 8 bits with a scale a block."""

from __future__ import annotations

from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from flax import struct

from mmjax.core.typing import Array, Float
from mmjax.parallel.sharding import is_boxed

Moments = Literal["", "bfloat16", "int8"]
"""What moments are kept in; "" is what the parameters are stored in."""

BLOCK = 64
"""Numbers that share a scale, along the last axis."""

SMALL = 4096
"""Arrays of fewer numbers stay in float32: they are few bytes, and scales would be more."""


@struct.dataclass
class Quantised:
    """An array in 8 bits: `codes` int8 of its shape, and the scale of each block of its last axis.

    Of signed values code / 127 is multiplied by the scale, of a root that is not negative
    (code + 128) / 255.
    """

    codes: Any
    scales: Any


def kept_in(
    rule: optax.GradientTransformationExtraArgs | optax.GradientTransformation, moments: Moments
) -> optax.GradientTransformationExtraArgs | optax.GradientTransformation:
    """An update rule whose moments are kept in fewer bytes between steps.

    The rule computes in float32. "bfloat16" rounds; second moments are rounded at random, by a hash
    of the step and place, since what a step adds to them is less than half of their last digit
    (stochastic rounding, Gupta et al. 2015). "int8" keeps blocks of 64 of the last axis with a
    scale of their own (as Dettmers et al. 2022, with even steps): first moments as they are, and
    second moments by their fourth root, of which even steps hold small values too. Arrays of few
    numbers, and what is no array of moments, stay as they are.
    """
    if not moments:
        return rule
    told = optax.with_extra_args_support(rule)

    def init(params: Any) -> Any:
        return _packed(rule.init(params), moments, None)

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        whole = _unpacked(state)
        new, following = told.update(updates, whole, params, **extra)
        return new, _packed(following, moments, _count(following))

    return optax.GradientTransformationExtraArgs(init, update)


def _count(state: Any) -> Any:
    return getattr(state, "count", jnp.zeros((), jnp.int32))


def _packed(state: Any, moments: Moments, count: Any) -> Any:
    fields = {}
    for name in ("mu", "nu", "trace"):
        if hasattr(state, name):
            root = name == "nu"
            fields[name] = jax.tree.map(
                lambda leaf, root=root: _pack(leaf, moments, root, count),
                getattr(state, name),
                is_leaf=is_boxed,
            )
    return state._replace(**fields)


def _unpacked(state: Any) -> Any:
    fields = {}
    for name in ("mu", "nu", "trace"):
        if hasattr(state, name):
            root = name == "nu"
            fields[name] = jax.tree.map(
                lambda leaf, root=root: _unpack(leaf, root),
                getattr(state, name),
                is_leaf=lambda leaf: isinstance(leaf, Quantised),
            )
    return state._replace(**fields)


def _pack(leaf: Any, moments: Moments, root: bool, count: Any) -> Any:
    if is_boxed(leaf):
        # The codes have the parameter's axes, so that they lie as it does; the scales' last axis
        # is of blocks, which has no name.
        packed = _pack(leaf.unbox(apply_constraint=False), moments, root, count)
        if isinstance(packed, Quantised):
            names = (*leaf.names[:-1], None)
            return Quantised(leaf.replace_boxed(packed.codes), _named(leaf, packed.scales, names))
        return leaf.replace_boxed(packed)
    if leaf.size < SMALL or not jnp.issubdtype(leaf.dtype, jnp.floating):
        return leaf
    if moments == "bfloat16":
        if root and count is not None:
            return rounded_at_random(leaf, count)
        return leaf.astype(jnp.bfloat16)
    return quantised(leaf, root=root)


def _named(leaf: Any, value: Any, names: tuple[str | None, ...]) -> Any:
    return leaf.replace_boxed(value).replace(names=names)


def _unpack(leaf: Any, root: bool) -> Any:
    if isinstance(leaf, Quantised):
        return restored(leaf, root=root)
    return leaf.astype(jnp.float32) if leaf.dtype == jnp.bfloat16 else leaf


def quantised(values: Float[Array, "..."], *, root: bool) -> Quantised:
    """Blocks of the last axis in 8 bits; with `root`, of values that are not negative, by their
    fourth root."""
    values = jnp.asarray(values, jnp.float32)
    values = jnp.sqrt(jnp.sqrt(jnp.maximum(values, 0.0))) if root else values
    blocks = _blocks(values)
    scales = jnp.max(jnp.abs(blocks), axis=-1)
    shares = blocks / jnp.maximum(scales, 1e-30)[..., None]
    codes = jnp.round(shares * 255.0) - 128.0 if root else jnp.round(shares * 127.0)
    flat = codes.reshape(*values.shape[:-1], -1)[..., : values.shape[-1]]
    return Quantised(flat.astype(jnp.int8), scales)


def restored(packed: Quantised, *, root: bool) -> Float[Array, "..."]:
    """The float32 values that `quantised` was given, to its precision."""
    codes = packed.codes.astype(jnp.float32)
    shares = (codes + 128.0) / 255.0 if root else codes / 127.0
    size = codes.shape[-1]
    scales = jnp.repeat(packed.scales, BLOCK, axis=-1)[..., :size]
    values = shares * scales
    return jnp.square(jnp.square(values)) if root else values


def _blocks(values: Array) -> Array:
    size = values.shape[-1]
    missing = -size % BLOCK
    padded = jnp.pad(values, [*[(0, 0)] * (values.ndim - 1), (0, missing)])
    return padded.reshape(*values.shape[:-1], -1, BLOCK)


def rounded_at_random(values: Float[Array, "..."], count: Any) -> Array:
    """float32 to bfloat16, up or down with the chance that keeps the mean.

    The chance is drawn by a hash of the step `count` and the place, so that the same state gives
    the same result on every mesh.
    """
    bits = jax.lax.bitcast_convert_type(values.astype(jnp.float32), jnp.uint32)
    place = jnp.zeros(values.shape, jnp.uint32)
    for axis in range(values.ndim):
        own = jax.lax.broadcasted_iota(jnp.uint32, values.shape, axis)
        place = place * jnp.uint32(0x9E3779B1) + own
    noise = _mixed(place ^ (jnp.asarray(count).astype(jnp.uint32) * jnp.uint32(0x85EBCA6B)))
    up = bits + (noise & jnp.uint32(0xFFFF))
    cut = jax.lax.bitcast_convert_type(up & jnp.uint32(0xFFFF0000), jnp.float32)
    return jnp.where(jnp.isfinite(values), cut, values).astype(jnp.bfloat16)


def _mixed(x: Array) -> Array:
    """A hash of 32 bits (the finaliser of MurmurHash3)."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)

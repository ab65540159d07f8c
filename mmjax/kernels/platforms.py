"""One function with an implementation for each platform, decided when the program is lowered."""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

_default_alone = contextvars.ContextVar("default_alone", default=False)


@contextlib.contextmanager
def default_alone() -> Iterator[None]:
    """What is traced within has its defaults alone: for programs that are of no platform of JAX."""
    token = _default_alone.set(True)
    try:
        yield
    finally:
        _default_alone.reset(token)


def is_default_alone() -> bool:
    """Whether what is traced is within `default_alone`."""
    return _default_alone.get()


def platform_dependent(
    *operands: Any, default: Callable[..., Any], **platforms: Callable[..., Any]
) -> Any:
    """`jax.lax.platform_dependent`, but for the `default` alone within `default_alone`."""
    if is_default_alone():
        return default(*operands)
    return jax.lax.platform_dependent(*operands, default=default, **platforms)


def per_platform(
    name: str, default: Callable[..., Any], **platforms: Callable[..., Any]
) -> Callable[..., Any]:
    """A function of trees of arrays, `default` except on the `platforms` named ("tpu", "cuda").

    All must return the same shapes. `jax.lax.platform_dependent` traces every branch at every call,
    keeps what the backward passes of all of them need, and cannot hold a Pallas kernel in a program
    for several platforms. This is a primitive: only what is lowered is traced, also when that is
    done for another machine. It has no gradient, and is meant for use inside a `jax.custom_vjp`.
    Nobody splits a kernel over several devices outside a mesh context: `default` is used there.
    The first axis of every array are rows: `vmap` adds its own to them. Keyword arguments are
    static and hashable.
    """
    primitive = Primitive(name)
    primitive.multiple_results = True

    def flat(function: Callable[..., Any], *leaves: Any, structure: Any, **static: Any) -> list:
        return jax.tree.leaves(function(*jax.tree.unflatten(structure, leaves), **static))

    def abstract(*avals: Any, **params: Any) -> list[ShapedArray]:
        found = jax.eval_shape(functools.partial(flat, default, **params), *avals)
        return [ShapedArray(one.shape, one.dtype) for one in found]

    @functools.partial(jax.jit, static_argnames="params")
    def run(*leaves: Any, params: Any) -> list:
        return primitive.bind(*leaves, **dict(params))

    primitive.def_abstract_eval(abstract)
    primitive.def_impl(lambda *leaves, **params: run(*leaves, params=tuple(params.items())))
    plain, *special = (
        mlir.lower_fun(functools.partial(flat, function), multiple_results=True)
        for function in (default, *platforms.values())
    )
    mlir.register_lowering(primitive, plain)
    for platform, rule in zip(platforms, special, strict=True):
        mlir.register_lowering(primitive, functools.partial(_lower, rule, plain), platform=platform)
    batching.primitive_batchers[primitive] = functools.partial(_batched, primitive)

    def call(*operands: Any, **static: Any) -> Any:
        if is_default_alone():
            return default(*operands, **static)
        leaves, structure = jax.tree.flatten(operands)
        shapes = jax.eval_shape(functools.partial(default, **static), *operands)
        found = primitive.bind(*leaves, structure=structure, **static)
        return jax.tree.unflatten(jax.tree.structure(shapes), found)

    return call


def _lower(rule: Any, plain: Any, context: Any, *operands: Any, **params: Any) -> Any:
    devices = getattr(context.module_context.axis_context, "num_devices", None) or 1
    alone = devices == 1 or not jax.sharding.get_abstract_mesh().empty
    return (rule if alone else plain)(context, *operands, **params)


def _batched(primitive: Primitive, leaves: Any, axes: Any, **params: Any) -> Any:
    """The mapped axis becomes a part of the rows."""
    size = next(one.shape[axis] for one, axis in zip(leaves, axes, strict=True) if axis is not None)

    def rows(one: Any, axis: int | None) -> Any:
        if axis is None:
            one = jnp.broadcast_to(one, (size, *one.shape))
        else:
            one = jnp.moveaxis(one, axis, 0)
        return one.reshape(-1, *one.shape[2:])

    found = primitive.bind(*map(rows, leaves, axes), **params)
    return [one.reshape(size, -1, *one.shape[1:]) for one in found], [0] * len(found)

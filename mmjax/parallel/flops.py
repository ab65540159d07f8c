"""What a traced function computes and holds, counted from its jaxpr."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr

from mmjax.parallel.program import readable

_INNER = ("jaxpr", "call_jaxpr", "fun_jaxpr", "body_jaxpr")


def matmul_flops(function: Callable[..., Any], *arguments: Any) -> float:
    """FLOPs of the matrix products and convolutions of `function(*arguments)`, over all devices.

    A multiplication and an addition are two. Loops count as often as they turn, of branches the
    most expensive counts, and a `while` of unknown length once. Elementwise work is left out: the
    matrix units, whose speed a chip is named for, do none of it. `arguments` may be shapes.
    """
    return count(jax.make_jaxpr(function)(*arguments).jaxpr)


def count(jaxpr: Jaxpr) -> float:
    """`matmul_flops` of a jaxpr."""
    return sum(_equation(one) for one in jaxpr.eqns)


def _equation(one: Any) -> float:
    name = one.primitive.name
    if name == "dot_general":
        return _dot(one)
    if name == "conv_general_dilated":
        return _convolution(one)
    if name == "scan":
        return one.params["length"] * count(one.params["jaxpr"].jaxpr)
    if name == "while":
        return count(one.params["body_jaxpr"].jaxpr)
    if name == "cond":
        return max(count(branch.jaxpr) for branch in one.params["branches"])
    if name == "shard_map":
        sizes = one.params["mesh"].shape
        axes = one.params.get("manual_axes", one.params.get("axis_names", sizes))
        return math.prod(sizes[axis] for axis in axes) * count(one.params["jaxpr"])
    if name == "pallas_call":
        grid = getattr(one.params.get("grid_mapping"), "grid", ())
        return math.prod(size for size in grid if isinstance(size, int)) * count(
            one.params["jaxpr"]
        )
    return sum(count(inner) for inner in _inner(one))


def _inner(one: Any) -> list[Jaxpr]:
    found = [one.params[key] for key in _INNER if key in one.params]
    return [
        inner.jaxpr if isinstance(inner, ClosedJaxpr) else inner
        for inner in found[:1]
        if isinstance(inner, ClosedJaxpr | Jaxpr)
    ]


def _dot(one: Any) -> float:
    left = one.invars[0].aval.shape
    (contracted, _), _ = one.params["dimension_numbers"]
    out = math.prod(one.outvars[0].aval.shape)
    return 2.0 * out * math.prod(left[axis] for axis in contracted)


def _convolution(one: Any) -> float:
    kernel = one.invars[1].aval.shape
    layout = one.params["dimension_numbers"].rhs_spec
    per_output = math.prod(kernel) // kernel[layout[0]]
    given = one.params["lhs_dilation"]
    out = math.prod(one.outvars[0].aval.shape)
    groups = one.params["batch_group_count"]
    # Zeros between the rows of a strided convolution's gradient are no work.
    return 2.0 * out * per_output / math.prod(given) / groups


def largest_arrays(jaxpr: Jaxpr, most: int = 8) -> list[tuple[float, str, str]]:
    """The largest arrays that are computed: bytes over all devices, shape, and where they are made.

    As they are traced: what the compiler fuses or computes again is among them.
    """
    found: dict[tuple[str, str], float] = {}
    _walk(jaxpr, found)
    ranked = sorted(found.items(), key=lambda item: -item[1])[:most]
    return [(size, shape, name) for (shape, name), size in ranked]


def _walk(jaxpr: Jaxpr, found: dict[tuple[str, str], float]) -> None:
    for one in jaxpr.eqns:
        inner = list(_inner(one))
        inner += [branch.jaxpr for branch in one.params.get("branches", ())]
        for part in inner:
            _walk(part, found)
        if inner:
            continue
        for out in one.outvars:
            aval: Any = out.aval
            if not hasattr(aval, "shape") or not hasattr(aval.dtype, "itemsize"):
                continue
            name = readable(f"{one.source_info.name_stack}/{one.primitive.name}")
            key = (aval.str_short(), name)
            found[key] = float(math.prod(aval.shape) * aval.dtype.itemsize)

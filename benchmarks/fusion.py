"""Cross-attention with its four projections, the core of attention-level fusion.

python -m benchmarks.fusion
python -m benchmarks.fusion --against torch,flax --sizes b1-n512-m1500-d768-k12
python -m benchmarks.fusion --backend xla chunked --dtype bfloat16 --passes forward
python -m benchmarks.fusion --padded 0.5

Sizes: b rows, n queries of one modality, m keys of the other, d width, k heads. Variants: the
module `mmjax.nn.attention.Attention` with the backend that it chooses; each backend of
`mmjax.kernels.attention` under the same projections; against torch's scaled_dot_product_attention
and flax.linen.MultiHeadDotProductAttention. In bfloat16, torch is timed in float32 too. With
`--padded`, up to that share of each row's keys are padding, and all variants are given the mask.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from benchmarks import harness, timing
from mmjax.core.errors import ConfigError
from mmjax.kernels.attention import BACKENDS, attention
from mmjax.kernels.matmul import dot_general
from mmjax.nn.attention import Attention
from mmjax.writers.console import say

LETTERS = "b n m d k"
SIZES = (
    "b4-n64-m197-d768-k12",
    "b32-n32-m50-d512-k8",
    "b1-n512-m1500-d768-k12",
)
ACCELERATOR_SIZES = (
    "b64-n64-m197-d768-k12",
    "b512-n32-m50-d512-k8",
    "b16-n512-m1500-d768-k12",
    "b4-n4096-m4096-d1024-k16",
)
Tree = Any


def arguments(size: str) -> tuple[Tree, np.ndarray, np.ndarray, np.ndarray]:
    """Parameters as `Attention` holds them, queries, context, cotangent of the result."""
    b, n, m, d, k = harness.dimensions(size, LETTERS)
    rng = np.random.default_rng(0)

    def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
        return (rng.standard_normal(shape) * scale).astype(np.float32)

    def projection(*shape: int, bias: tuple[int, ...]) -> dict[str, np.ndarray]:
        return {"kernel": normal(*shape, scale=d**-0.5), "bias": normal(*bias, scale=0.1)}

    split = {"bias": (k, d // k)}
    params = {name: projection(d, k, d // k, **split) for name in ("query", "key", "value")}
    params["out"] = projection(k, d // k, d, bias=(d,))
    return params, normal(b, n, d), normal(b, m, d), normal(b, n, d)


def valid_keys(size: str, padded: float) -> np.ndarray | None:
    """[b m]: the rows have from `1 - padded` of the keys to all; None without padding."""
    b, _, m, _, _ = harness.dimensions(size, LETTERS)
    lengths = np.random.default_rng(1).integers(int(m * (1 - padded)), m + 1, b)
    return np.arange(m) < lengths[:, None] if padded else None


def flops(size: str) -> float:
    """Of the products, forward; padding counts."""
    b, n, m, d, _ = harness.dimensions(size, LETTERS)
    return 4.0 * b * d * ((n + m) * d + n * m)


def naive(
    valid: np.ndarray | None, params: Tree, queries: jax.Array, context: jax.Array
) -> jax.Array:
    """The formula, for float64."""

    def project(name: str, inputs: jax.Array) -> jax.Array:
        return (
            jnp.einsum("bnd,dkh->bknh", inputs, params[name]["kernel"])
            + (params[name]["bias"][:, None])
        )

    query, key, value = (
        project("query", queries),
        project("key", context),
        project("value", context),
    )
    logits = jnp.einsum("bknh,bkmh->bknm", query, key) / np.sqrt(query.shape[-1])
    if valid is not None:
        logits = jnp.where(valid[:, None, None], logits, -jnp.inf)
    heads = jnp.einsum("bknm,bkmh->bknh", jax.nn.softmax(logits), value)
    return jnp.einsum("bknh,khd->bnd", heads, params["out"]["kernel"]) + params["out"]["bias"]


def with_backend(
    backend: str, mask: jax.Array | None, params: Tree, queries: jax.Array, context: jax.Array
) -> jax.Array:
    """One backend of the kernel between projections as `mmjax.nn.dense` computes them."""

    def project(name: str, inputs: jax.Array, axes: int = 1) -> jax.Array:
        contracted = tuple(range(inputs.ndim - axes, inputs.ndim)), tuple(range(axes))
        kernel = params[name]["kernel"]
        return dot_general(inputs, kernel, (contracted, ((), ()))) + params[name]["bias"]

    heads, _ = attention(
        project("query", queries),
        project("key", context),
        project("value", context),
        mask=None if mask is None else mask[:, None, None],
        backend=backend,
    )
    return project("out", heads, axes=2)


def torch_block(
    params: Tree, queries: Any, context: Any, valid: Any, cotangent: Any, dtype: str
) -> Any:
    """A call of scaled_dot_product_attention between four linear layers; with gradients or not."""
    torch = harness.need_torch()
    place = {"device": "cuda" if torch.cuda.is_available() else "cpu"}
    place["dtype"] = getattr(torch, dtype)
    heads, head_dim, _ = params["out"]["kernel"].shape
    layers = {}
    for name, one in params.items():
        inputs = heads * head_dim if name == "out" else one["kernel"].shape[0]
        linear = torch.nn.Linear(inputs, one["bias"].size, **place)
        with torch.no_grad():
            linear.weight.copy_(torch.tensor(one["kernel"].reshape(inputs, -1).T.copy()))
            linear.bias.copy_(torch.tensor(one["bias"].ravel()))
        layers[name] = linear
    grad = cotangent is not None
    queries, context = (
        torch.tensor(one).to(**place).requires_grad_(grad) for one in (queries, context)
    )
    cotangent = torch.tensor(cotangent).to(**place) if grad else None
    mask = None
    if valid is not None:
        mask = torch.tensor(valid, device=place["device"])[:, None, None].expand(
            -1, -1, queries.shape[1], -1
        )

    def split(name: str, inputs: Any) -> Any:
        return layers[name](inputs).unflatten(-1, (heads, head_dim)).transpose(1, 2)

    def forward() -> Any:
        found = torch.nn.functional.scaled_dot_product_attention(
            split("query", queries), split("key", context), split("value", context), mask
        )
        return layers["out"](found.transpose(1, 2).flatten(-2))

    def both() -> Any:
        for leaf in (queries, context, *(p for one in layers.values() for p in one.parameters())):
            leaf.grad = None
        output = forward()
        output.backward(cotangent)
        grads = {
            name: {
                "kernel": one.weight.grad.T.reshape(params[name]["kernel"].shape),
                "bias": one.bias.grad.reshape(params[name]["bias"].shape),
            }
            for name, one in layers.items()
        }
        return output, (grads, queries.grad, context.grad)

    return both if grad else torch.no_grad()(forward)


def case(size: str, what: str, dtype: str, args: argparse.Namespace) -> timing.Case:
    params, queries, context, cotangent = arguments(size)
    heads = params["query"]["kernel"].shape[1]
    both = what == "forward+backward"

    def whole(function: Any) -> Any:
        return timing.with_gradient(function) if both else function

    valid = valid_keys(size, args.padded)
    mask = None if valid is None else jnp.asarray(valid)
    given = (cotangent, params, queries, context) if both else (params, queries, context)
    operands = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), given)

    def variant(name: str, function: Any) -> timing.Variant:
        return timing.jax_variant(name, whole(function), *operands, dtype=dtype)

    def module(params: Tree, queries: jax.Array, context: jax.Array) -> jax.Array:
        ours = Attention(heads=heads, dtype=dtype)
        return ours.apply({"params": params}, queries, context, mask=mask, train=False)

    variants = [variant("mmjax Attention", module)]
    for name in args.backends:
        try:
            variants.append(variant(f"kernel {name}", functools.partial(with_backend, name, mask)))
        except ConfigError as error:
            say(f"{size}, {what}, {dtype}: no {name}: {error.what}")
    if "flax" in args.against:
        theirs = nn.MultiHeadDotProductAttention(heads, dtype=dtype)
        name = "flax MultiHeadDotProductAttention"
        wide = None if mask is None else mask[:, None, None]
        variants.append(
            variant(name, lambda p, q, c: theirs.apply({"params": p}, q, c, c, mask=wide))
        )
    if "torch" in args.against:
        for kind in dict.fromkeys(("float32", dtype)):
            seed = cotangent if both else None
            call = torch_block(params, queries, context, valid, seed, kind)
            variants.append(harness.torch_variant(f"torch sdpa {kind}", call, dtype=kind))
    reference = timing.in_float64(whole(functools.partial(naive, valid)), *given)
    notes = [what]
    notes += [f"up to {args.padded:.0%} padding"] if args.padded else []
    notes += [dtype] if dtype != "float32" else []
    return timing.Case(
        size=size,
        what=", ".join(notes),
        variants=variants,
        reference=reference,
        flops=flops(size) * (3 if both else 1),
        bytes=(timing.nbytes(params, queries, context) + timing.nbytes(reference) / 2),
    )


def cases(args: argparse.Namespace) -> Iterator[timing.Case]:
    for size in args.sizes:
        for dtype in args.dtypes:
            for what in args.passes:
                yield case(size, what, dtype, args)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = harness.parser(
        "fusion",
        __doc__,
        sizes=harness.sizes_of(SIZES, ACCELERATOR_SIZES),
        backends=sorted(BACKENDS),
        against=("torch", "flax"),
    )
    if jax.default_backend() == "cpu":
        parser.set_defaults(backends=["xla", "chunked"])
    parser.add_argument("--padded", type=float, default=0.0, help="share of the keys, 0 to 1")
    args = parser.parse_args(arguments)
    harness.run("fusion", cases(args), args)


if __name__ == "__main__":
    harness.restart_on_one_core()
    main()

"""Pooled joint embedding of three modalities: pool_m(W_m x_m).

python -m benchmarks.joint_embedding
python -m benchmarks.joint_embedding --against torch,flax --sizes b256-d768-e512 --pools sum max
python -m benchmarks.joint_embedding --absent 0.3 --dtype bfloat16 --passes forward

Sizes: b rows, d width of each modality, e joint dimension. With `--absent`, each modality is
missing in that share of the rows, and all variants handle it. Variants: the function
`mmjax.kernels.joint_embedding` with each backend ("pallas" differs for cosine pooling alone, and is
timed by default on a TPU only: elsewhere it is interpreted; of `max`, the gradient is compared in
float32 alone); against the same formulas on
torch.nn.functional.linear and on flax.linen.Dense. In bfloat16, torch is timed in float32 too.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from benchmarks import harness, timing
from mmjax.kernels.cosine_pooling import EPS, Backend
from mmjax.kernels.joint_embedding import Pool, joint_embedding

LETTERS = "b d e"
SIZES = (
    "b8-d768-e512",
    "b32-d768-e512",
    "b64-d768-e512",
    "b256-d768-e512",
    "b512-d768-e768",
)
ACCELERATOR_SIZES = ("b512-d768-e512", "b4096-d768-e768", "b16384-d1024-e1024")
POOLS = get_args(Pool)
MODALITIES = 3
Tree = Any


def arguments(size: str, absent: float) -> tuple[list, list, np.ndarray | None, np.ndarray]:
    """Inputs, weights, which are present (None if all) and the cotangent of the result."""
    b, d, e = harness.dimensions(size, LETTERS)
    rng = np.random.default_rng(0)

    def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
        return (rng.standard_normal(shape) * scale).astype(np.float32)

    inputs = [normal(b, d) for _ in range(MODALITIES)]
    weights = [normal(d, e, scale=d**-0.5) for _ in range(MODALITIES)]
    present = rng.random((b, MODALITIES)) >= absent if absent else None
    return inputs, weights, present, normal(b, e)


def flops(size: str) -> float:
    """Of the products, forward."""
    b, d, e = harness.dimensions(size, LETTERS)
    return 2.0 * b * d * e * MODALITIES


def formula(pool: str, vectors: Sequence[jax.Array], present: Any) -> jax.Array:
    """As it is written down, for float64 and for Flax."""
    stacked = jnp.stack(vectors, axis=1)
    here = jnp.ones(stacked.shape[:2], bool) if present is None else present
    some, count = here.any(axis=1)[:, None], jnp.maximum(here.sum(axis=1), 1)[:, None]
    if pool == "max":
        highest = jnp.where(here[..., None], stacked, -jnp.inf).max(axis=1)
        return jnp.where(some, highest, 0)
    stacked = jnp.where(here[..., None], stacked, 0)
    if pool == "sum":
        return stacked.sum(axis=1)
    if pool == "mean":
        return stacked.sum(axis=1) / count.astype(stacked.dtype)
    wide = stacked.astype(jnp.promote_types(stacked.dtype, jnp.float32))
    units = wide / jnp.sqrt(jnp.square(wide).sum(axis=-1, keepdims=True) + EPS)
    centre = units.sum(axis=1) / count.astype(wide.dtype)
    length = jnp.sqrt(jnp.square(centre).sum(axis=-1) + EPS)
    cosines = jnp.einsum("bme,be->bm", units, centre) / length[:, None]
    shares = jnp.where(here, jax.nn.softmax(jnp.where(here, cosines, -1e30), axis=1), 0)
    return jnp.einsum("bm,bme->be", shares, wide).astype(stacked.dtype)


def naive(pool: str, present: Any, inputs: Tree, weights: Tree) -> jax.Array:
    return formula(pool, [x @ w for x, w in zip(inputs, weights, strict=True)], present)


def kernel(pool: Pool, backend: Backend | None, present: Any, inputs: Tree, weights: Tree):
    found, _ = joint_embedding(inputs, weights, present=present, pool=pool, backend=backend)
    return found


def flax_layers(pool: str, present: Any, inputs: Tree, weights: Tree) -> jax.Array:
    vectors = [
        nn.Dense(w.shape[1], use_bias=False, dtype=x.dtype).apply({"params": {"kernel": w}}, x)
        for x, w in zip(inputs, weights, strict=True)
    ]
    return formula(pool, vectors, present)


def torch_formula(pool: str, vectors: list[Any], here: Any) -> Any:
    """The fastest of the ways tried to write each pool with torch's own operators."""
    torch = harness.need_torch()
    if here is not None and pool != "max":
        vectors = [v * here[:, m : m + 1] for m, v in enumerate(vectors)]
    count = len(vectors) if here is None else here.sum(dim=1, keepdim=True).clamp(min=1)
    if pool == "max":
        if here is not None:
            absent = here == 0
            vectors = [
                v.masked_fill(absent[:, m : m + 1], -torch.inf) for m, v in enumerate(vectors)
            ]
        highest = functools.reduce(torch.maximum, vectors)
        return highest if here is None else highest.masked_fill(absent.all(dim=1)[:, None], 0.0)
    if pool in ("sum", "mean"):
        total = functools.reduce(torch.add, vectors)
        return total if pool == "sum" else total / count
    wide = [v.float() for v in vectors]
    lengths = [(v.square().sum(dim=1, keepdim=True) + EPS).rsqrt() for v in wide]
    centre = (
        functools.reduce(torch.add, (v * r for v, r in zip(wide, lengths, strict=True))) / count
    )
    of_centre = (centre.square().sum(dim=1, keepdim=True) + EPS).rsqrt()
    dots = [(v * centre).sum(dim=1, keepdim=True) * r for v, r in zip(wide, lengths, strict=True)]
    cosines = torch.cat(dots, dim=1) * of_centre
    if here is not None:
        cosines = cosines.masked_fill(here == 0, -1e30)
    shares = cosines.softmax(dim=1)
    if here is not None:
        shares = shares * here
    products = (v * shares[:, m : m + 1] for m, v in enumerate(wide))
    return functools.reduce(torch.add, products).to(vectors[0].dtype)


def torch_layers(
    pool: str, inputs: Tree, weights: Tree, present: Any, cotangent: Any, dtype: str
) -> Callable[[], Any]:
    """A call of the layers and the pool; with gradients if there is a cotangent."""
    torch = harness.need_torch()
    place = {"device": "cuda" if torch.cuda.is_available() else "cpu"}
    place["dtype"] = getattr(torch, dtype)
    grad = cotangent is not None
    xs = [torch.tensor(one).to(**place).requires_grad_(grad) for one in inputs]
    ws = [torch.tensor(one.T.copy()).to(**place).requires_grad_(grad) for one in weights]
    here = None if present is None else torch.tensor(present).to(**place)
    cotangent = torch.tensor(cotangent).to(**place) if grad else None

    def forward() -> Any:
        vectors = [torch.nn.functional.linear(x, w) for x, w in zip(xs, ws, strict=True)]
        return torch_formula(pool, vectors, here)

    def both() -> Any:
        for leaf in (*xs, *ws):
            leaf.grad = None
        output = forward()
        output.backward(cotangent)
        return output, ([x.grad for x in xs], [w.grad.T for w in ws])

    return both if grad else torch.no_grad()(forward)


def case(size: str, what: str, pool: Pool, dtype: str, args: argparse.Namespace) -> timing.Case:
    inputs, weights, present, cotangent = arguments(size, args.absent)
    both = what == "forward+backward"

    def whole(function: Any) -> Any:
        return timing.with_gradient(function) if both else function

    given = (cotangent, inputs, weights) if both else (inputs, weights)
    operands = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), given)
    here = None if present is None else jnp.asarray(present)

    def variant(name: str, function: Any) -> timing.Variant:
        return timing.jax_variant(name, whole(function), *operands, dtype=dtype)

    backends = args.backends if pool == "cosine" else ["xla"]
    variants = [
        variant(f"mmjax {backend}", functools.partial(kernel, pool, backend, here))
        for backend in backends
    ]
    if "flax" in args.against:
        variants.append(variant("flax Dense", functools.partial(flax_layers, pool, here)))
    if "torch" in args.against:
        for kind in dict.fromkeys(("float32", dtype)):
            call = torch_layers(pool, inputs, weights, present, cotangent if both else None, kind)
            variants.append(harness.torch_variant(f"torch linear {kind}", call, dtype=kind))
    reference = timing.in_float64(whole(functools.partial(naive, pool, present)), *given)
    notes = [f"{pool}, {what}"]
    notes += [f"{args.absent:.0%} absent"] if args.absent else []
    notes += [dtype] if dtype != "float32" else []
    return timing.Case(
        size=size,
        what=", ".join(notes),
        variants=variants,
        reference=reference,
        flops=flops(size) * (3 if both else 1),
        bytes=timing.nbytes(inputs, weights) + timing.nbytes(reference) / 2,
    )


def cases(args: argparse.Namespace) -> Iterator[timing.Case]:
    for size in args.sizes:
        for dtype in args.dtypes:
            for pool in args.pools:
                for what in args.passes:
                    # Nearly equal vectors round to another order, and the gradient goes elsewhere.
                    if (pool, what) != ("max", "forward+backward") or dtype == "float32":
                        yield case(size, what, pool, dtype, args)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = harness.parser(
        "joint_embedding",
        __doc__,
        sizes=harness.sizes_of(SIZES, ACCELERATOR_SIZES),
        backends=get_args(Backend),
        against=("torch", "flax"),
    )
    parser.set_defaults(backends=["xla"] if jax.default_backend() != "tpu" else get_args(Backend))
    parser.add_argument("--pools", nargs="+", default=list(POOLS), choices=POOLS)
    parser.add_argument("--absent", type=float, default=0.0, help="share of rows, 0 to 1")
    args = parser.parse_args(arguments)
    harness.run("joint_embedding", cases(args), args)


if __name__ == "__main__":
    harness.restart_on_one_core()
    main()

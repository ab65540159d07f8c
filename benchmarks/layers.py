"""The layers that encoders are made of: a transformer block, and the embedding of patches.

python -m benchmarks.layers --against torch,flax
python -m benchmarks.layers --sizes b16-i224-p16-d768

Sizes: `b n d k` is a block that normalises first, with an MLP four times as wide (rows, tokens,
width, heads); `b i p d` embeds pictures of i x i pixels in patches of p x p (rows, width). Against
torch: TransformerEncoderLayer and Conv2d; against Flax: the same block of Flax's own layers, and
its Conv.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from benchmarks import harness, timing
from mmjax.nn.patches import PatchEmbed
from mmjax.nn.transformer import Block
from mmjax.parallel.sharding import unbox

BLOCK, PATCHES = "b n d k", "b i p d"
SIZES = ("b4-n197-d768-k12", "b32-n32-d512-k8", "b8-i224-p16-d768", "b32-i32-p4-d256")
ACCELERATOR_SIZES = ("b64-n197-d768-k12", "b8-n2048-d1024-k16", "b128-i224-p16-d768")
EPS = 1e-6
Tree = Any


class FlaxBlock(nn.Module):
    """The block as one writes it in Flax."""

    heads: int

    @nn.compact
    def __call__(self, values: jax.Array) -> jax.Array:
        normed = nn.LayerNorm(epsilon=EPS, name="attention_norm")(values)
        attention = nn.MultiHeadDotProductAttention(self.heads, name="attention")
        values = values + attention(normed)
        hidden = nn.LayerNorm(epsilon=EPS, name="mlp_norm")(values)
        hidden = nn.Dense(4 * values.shape[-1], name="up")(hidden)
        return values + nn.Dense(values.shape[-1], name="down")(nn.gelu(hidden, approximate=False))


def flax_block(heads: int) -> Callable[[Tree, jax.Array], jax.Array]:
    def apply(params: Tree, values: jax.Array) -> jax.Array:
        flat = {**params, **params["mlp"]}
        del flat["mlp"]
        return FlaxBlock(heads).apply({"params": flat}, values)

    return apply


def flax_patches(patch: int) -> Callable[[Tree, jax.Array], jax.Array]:
    def apply(params: Tree, pixels: jax.Array) -> jax.Array:
        one = params["projection"]
        width = one["bias"].size
        kernel = one["kernel"].reshape(patch, patch, -1, width)
        conv = nn.Conv(width, (patch, patch), strides=(patch, patch), padding="VALID")
        found = conv.apply({"params": {**one, "kernel": kernel}}, pixels)
        return found.reshape(len(found), -1, width)

    return apply


def torch_block(params: Tree, heads: int, dtype: str, place: str) -> tuple[Any, Callable]:
    """The layer, and how its gradients are those of `params`."""
    torch = harness.need_torch()
    width = params["attention_norm"]["bias"].size
    options = {"norm_first": True, "batch_first": True, "activation": "gelu", "dropout": 0.0}
    layer = torch.nn.TransformerEncoderLayer(
        width, heads, 4 * width, layer_norm_eps=EPS, device=place, **options
    )
    attention, mlp = params["attention"], params["mlp"]
    parts = [attention[name] for name in ("query", "key", "value")]
    with torch.no_grad():
        for module, one in (
            (layer.self_attn.out_proj, attention["out"]),
            (layer.linear1, mlp["up"]),
            (layer.linear2, mlp["down"]),
        ):
            module.weight.copy_(torch.tensor(one["kernel"].reshape(-1, one["bias"].size).T.copy()))
            module.bias.copy_(torch.tensor(one["bias"]))
        for module, one in (
            (layer.norm1, params["attention_norm"]),
            (layer.norm2, params["mlp_norm"]),
        ):
            module.weight.copy_(torch.tensor(one["scale"]))
            module.bias.copy_(torch.tensor(one["bias"]))
        joined = np.concatenate([one["kernel"].reshape(width, -1).T for one in parts])
        layer.self_attn.in_proj_weight.copy_(torch.tensor(joined))
        biases = np.concatenate([one["bias"].ravel() for one in parts])
        layer.self_attn.in_proj_bias.copy_(torch.tensor(biases))
    layer = layer.to(getattr(torch, dtype))

    def dense(weight: Any, bias: Any, like: Tree) -> Tree:
        return {
            "kernel": weight.T.reshape(like["kernel"].shape),
            "bias": bias.reshape(like["bias"].shape),
        }

    def grads() -> Tree:
        weights = layer.self_attn.in_proj_weight.grad.chunk(3)
        biases = layer.self_attn.in_proj_bias.grad.chunk(3)
        split = {
            name: dense(weight, bias, attention[name])
            for name, weight, bias in zip(("query", "key", "value"), weights, biases, strict=True)
        }
        out = layer.self_attn.out_proj
        split["out"] = dense(out.weight.grad, out.bias.grad, attention["out"])
        return {
            "attention": split,
            **{
                name: {"scale": norm.weight.grad, "bias": norm.bias.grad}
                for name, norm in (("attention_norm", layer.norm1), ("mlp_norm", layer.norm2))
            },
            "mlp": {
                "up": dense(layer.linear1.weight.grad, layer.linear1.bias.grad, mlp["up"]),
                "down": dense(layer.linear2.weight.grad, layer.linear2.bias.grad, mlp["down"]),
            },
        }

    return layer, grads


def torch_patches(params: Tree, patch: int, dtype: str, place: str) -> tuple[Any, Callable]:
    """A convolution of `b c h w`, as torch has pictures."""
    torch = harness.need_torch()
    kernel, bias = params["projection"]["kernel"], params["projection"]["bias"]
    shaped = kernel.reshape(patch, patch, -1, bias.size).transpose(3, 2, 0, 1)
    conv = torch.nn.Conv2d(shaped.shape[1], bias.size, patch, patch, device=place)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor(shaped.copy()))
        conv.bias.copy_(torch.tensor(bias))
    conv = conv.to(getattr(torch, dtype))

    def grads() -> Tree:
        weight = conv.weight.grad.permute(2, 3, 1, 0).reshape(kernel.shape)
        return {"projection": {"kernel": weight, "bias": conv.bias.grad}}

    return conv, grads


def torch_call(
    layer: Any, grads: Callable, inputs: np.ndarray, cotangent: np.ndarray | None, dtype: str
) -> Callable[[], Any]:
    """Forward, or forward and backward; pictures go in and out with channels last."""
    torch = harness.need_torch()
    place = {"device": next(layer.parameters()).device, "dtype": getattr(torch, dtype)}
    pictures = inputs.ndim == 4
    given = inputs.transpose(0, 3, 1, 2).copy() if pictures else inputs
    values = torch.tensor(given).to(**place).requires_grad_(cotangent is not None)
    seed = None if cotangent is None else torch.tensor(cotangent).to(**place)

    def forward() -> Any:
        found = layer(values)
        return found.flatten(2).transpose(1, 2) if pictures else found

    def both() -> Any:
        values.grad = None
        layer.zero_grad(set_to_none=True)
        output = forward()
        output.backward(seed)
        of_inputs = values.grad.permute(0, 2, 3, 1) if pictures else values.grad
        return output, (grads(), of_inputs)

    return torch.no_grad()(forward) if cotangent is None else both


def case(size: str, what: str, dtype: str, args: argparse.Namespace) -> timing.Case:
    both = what == "forward+backward"
    types = {"dtype": dtype}
    if "p" in size:
        b, side, patch, d = harness.dimensions(size, PATCHES)
        module, name = PatchEmbed(patch=patch, width=d, **types), "PatchEmbed"
        shape: tuple[int, ...] = (b, side, side, 3)
        tokens = b * (side // patch) ** 2
        flops, options = 2.0 * tokens * d * patch * patch * 3, {}
        theirs, torch_layer, other = flax_patches(patch), torch_patches, patch
        names = ("flax Conv", "torch Conv2d")
    else:
        b, n, d, k = harness.dimensions(size, BLOCK)
        module, name = Block(heads=k, mlp_dim=4 * d, eps=EPS, **types), "Block"
        shape, tokens, options = (b, n, d), b * n, {"train": False}
        flops = 4.0 * b * n * d * (6 * d + n)
        theirs, torch_layer, other = flax_block(k), torch_block, k
        names = ("flax block", "torch TransformerEncoderLayer")
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal(shape).astype(np.float32)
    params = unbox(module.init(jax.random.key(0), jnp.asarray(inputs[:1]), **options))["params"]
    params = jax.tree.map(np.asarray, params)
    cotangent = rng.standard_normal((b, tokens // b, d)).astype(np.float32)

    def whole(function: Any) -> Any:
        return timing.with_gradient(function) if both else function

    given = (cotangent, params, inputs) if both else (params, inputs)

    def variant(name: str, function: Any) -> timing.Variant:
        operands = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), given)
        return timing.jax_variant(name, whole(function), *operands, dtype=dtype)

    variants = [
        variant(f"mmjax {name}", lambda p, x: module.apply({"params": p}, x, **options)),
    ]
    if "flax" in args.against:
        variants.append(variant(names[0], theirs))
    if "torch" in args.against:
        place = "cuda" if harness.need_torch().cuda.is_available() else "cpu"
        for kind in dict.fromkeys(("float32", dtype)):
            layer, grads = torch_layer(params, other, kind, place)
            call = torch_call(layer, grads, inputs, cotangent if both else None, kind)
            variants.append(harness.torch_variant(f"{names[1]} {kind}", call, dtype=kind))
    reference = timing.in_float64(whole(theirs), *given)
    return timing.Case(
        size=size,
        what=what if dtype == "float32" else f"{what}, {dtype}",
        variants=variants,
        reference=reference,
        flops=flops * (3 if both else 1),
        bytes=timing.nbytes(params, inputs) + timing.nbytes(reference) / 2,
        examples=tokens,
    )


def cases(args: argparse.Namespace) -> Iterator[timing.Case]:
    for size in args.sizes:
        for dtype in args.dtypes:
            for what in args.passes:
                yield case(size, what, dtype, args)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = harness.parser(
        "layers",
        __doc__,
        sizes=harness.sizes_of(SIZES, ACCELERATOR_SIZES),
        against=("torch", "flax"),
    )
    args = parser.parse_args(arguments)
    harness.run("layers", cases(args), args)


if __name__ == "__main__":
    harness.restart_on_one_core()
    main()

"""A step of training: text and image encoders, cross-attention fusion, a head, AdamW.

python -m benchmarks.train_step --against flax
python -m benchmarks.train_step --sizes b16-n64-i224-p16-d768-l6 --dtype bfloat16

Sizes: b rows, n text tokens, pictures of i x i in patches of p x p, width d (heads of 64), l layers
in each encoder. The step is the trainer's own, with clipping and the check for finite gradients;
against Flax: the same model of Flax's own layers, its patches by a strided convolution, under
`optax.adamw` with clipping. Both start from the same parameters. Loss and gradient norm are
compared with float64.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from benchmarks import harness, timing
from mmjax.core.registry import Spec
from mmjax.core.types import Batch
from mmjax.models.build import build_model
from mmjax.models.config import ModelConfig
from mmjax.parallel.mesh import MeshConfig, make_mesh
from mmjax.train.config import OptimizerConfig
from mmjax.train.optim import make_optimizer
from mmjax.train.state import plan_state
from mmjax.train.step import make_step

LETTERS = "b n i p d l"
SIZES = ("b8-n32-i112-p16-d512-l2", "b8-n64-i224-p16-d384-l2")
ACCELERATOR_SIZES = ("b64-n64-i224-p16-d384-l12", "b32-n64-i224-p16-d768-l12")
WORDS, LABELS, EPS, HEAD_DIM = 8000, 10, 1e-6, 64
OPTIMIZER = OptimizerConfig(learning_rate=1e-3, weight_decay=0.01, no_decay=())
Tree = Any


def example(size: str) -> Batch:
    """Rows whose texts have from half of the tokens to all."""
    b, n, side, _, _, _ = harness.dimensions(size, LETTERS)
    rng = np.random.default_rng(0)
    lengths = rng.integers(n // 2, n + 1, b)
    text = {
        "input_ids": rng.integers(0, WORDS, (b, n)).astype(np.int32),
        "attention_mask": np.arange(n) < lengths[:, None],
    }
    pixels = rng.standard_normal((b, side, side, 3)).astype(np.float32)
    return Batch(
        inputs={"text": text, "image": {"pixel_values": pixels}},
        present={name: np.ones(b, bool) for name in ("text", "image")},
        targets={"label": rng.integers(0, LABELS, b).astype(np.int32)},
        row_mask=np.ones(b, bool),
        row=np.arange(b),
    )


def ours(size: str, batch: Batch, dtype: str) -> tuple[timing.Variant, Tree]:
    """The trainer's step, and its first parameters."""
    _, n, side, patch, d, layers = harness.dimensions(size, LETTERS)
    blocks = {
        "width": d,
        "depth": layers,
        "heads": d // HEAD_DIM,
        "mlp_dim": 4 * d,
        "norm": "pre",
        "eps": EPS,
        "dropout": 0.0,
        "attention_dropout": 0.0,
    }
    config = ModelConfig(
        encoders={
            "text": Spec("text_transformer", **blocks, pooling="mean", segments=0),
            "image": Spec("vit", **blocks, patch=patch),
        },
        fusion=Spec("cross_attention", width=d, heads=d // HEAD_DIM, depth=1, dropout=0.0),
        dtype=dtype,
    )
    modalities = {
        "text": {"vocab_size": WORDS, "max_length": n},
        "image": {"image_size": (side, side)},
    }
    facts = {"modalities": modalities, "targets": {"label": {"num_labels": LABELS}}}
    module = build_model(config, Spec("classification"), facts)
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    schedule = optax.constant_schedule(OPTIMIZER.learning_rate)
    optimizer = make_optimizer(OPTIMIZER, schedule)
    plan = plan_state(module, optimizer, batch, mesh, seed=0, ema=False)
    start = plan.make()
    params = jax.tree.map(np.array, start.params)
    step = make_step(module, optimizer, schedule, mesh, plan.shardings)
    return stepping(f"mmjax {dtype}", step, start, batch, dtype), params


def stepping(name: str, step: Any, state: Any, batch: Batch, dtype: str) -> timing.Variant:
    """Each call is one step from where the last one ended; returns loss and gradient norm."""
    batch = jax.device_put(batch)
    start = timing.clock()
    compiled = step.lower(state, batch).compile()
    seconds = timing.clock() - start
    held = [state]

    def call() -> Tree:
        held[0], values = compiled(held[0], batch)
        return values["loss"], values["grad_norm"]

    temp = getattr(compiled.memory_analysis(), "temp_size_in_bytes", None)
    return timing.Variant(
        name,
        call,
        compile_seconds=seconds,
        temp_bytes=temp,
        dtype=dtype,
        tolerance=tolerance(dtype),
    )


def tolerance(dtype: str) -> float:
    return max(1e-4, timing.tolerance(dtype))


def flax_loss(size: str, dtype: Any) -> Callable[[Tree, Batch], jax.Array]:
    """The same model as one writes it in Flax, on the same parameters."""
    _, _, _, patch, d, _ = harness.dimensions(size, LETTERS)
    types = {"dtype": dtype}

    def norm(p: Tree, x: jax.Array) -> jax.Array:
        return nn.LayerNorm(epsilon=EPS, **types).apply({"params": p}, x)

    def dense(p: Tree, x: jax.Array) -> jax.Array:
        return nn.Dense(p["bias"].size, **types).apply({"params": p}, x)

    def attend(p: Tree, x: jax.Array, context: jax.Array, mask: jax.Array) -> jax.Array:
        layer = nn.MultiHeadDotProductAttention(d // HEAD_DIM, **types)
        return layer.apply({"params": p}, x, context, context, mask=mask[:, None, None])

    def blocks(p: Tree, x: jax.Array, mask: jax.Array, context: Any = None) -> jax.Array:
        for index in range(len(p["stack"])):
            one = p["stack"][f"layer_{index}"]
            if context is None:
                normed = norm(one["attention_norm"], x)
                x = x + attend(one["attention"], normed, normed, mask)
            else:
                normed = norm(one["cross_attention_norm"], x)
                x = x + attend(one["cross_attention"], normed, *context)
            hidden = dense(one["mlp"]["up"], norm(one["mlp_norm"], x))
            x = x + dense(one["mlp"]["down"], nn.gelu(hidden, approximate=False))
        return norm(p["norm"], x)

    def mean(x: jax.Array, mask: jax.Array) -> jax.Array:
        return (x * mask[..., None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)

    def text(p: Tree, ids: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        table = p["words"]["embedding"]
        x = nn.Embed(*table.shape, **types).apply({"params": p["words"]}, ids)
        x = x + p["positions"]["embedding"].astype(x.dtype)
        x = blocks(p["transformer"], x, mask)
        return x, mean(x, mask)

    def image(p: Tree, pixels: jax.Array) -> tuple[jax.Array, jax.Array]:
        one = p["patches"]["projection"]
        conv = nn.Conv(d, (patch, patch), strides=(patch, patch), padding="VALID", **types)
        kernel = one["kernel"].reshape(patch, patch, 3, d)
        x = conv.apply({"params": {**one, "kernel": kernel}}, pixels).reshape(len(pixels), -1, d)
        first = jnp.broadcast_to(p["class_token"].astype(x.dtype), (len(x), 1, d))
        x = jnp.concatenate([first, x], axis=1) + p["positions"].astype(x.dtype)
        x = blocks(p["transformer"], x, jnp.ones(x.shape[:2], bool))
        return x, x[:, 0]

    def loss(params: Tree, batch: Batch) -> jax.Array:
        mask = batch.inputs["text"]["attention_mask"]
        encoded = {
            "text": text(params["encoders_text"], batch.inputs["text"]["input_ids"], mask),
            "image": image(params["encoders_image"], batch.inputs["image"]["pixel_values"]),
        }
        masks = {"text": mask, "image": jnp.ones(encoded["image"][0].shape[:2], bool)}
        p = params["fusion"]
        tokens = {name: dense(p[f"{name}_tokens"], x) for name, (x, _) in encoded.items()}
        tokens["text"] = tokens["text"] * mask[..., None]
        summaries = []
        for name, other in (("image", "text"), ("text", "image")):
            attended = blocks(p[name], tokens[name], masks[name], (tokens[other], masks[other]))
            pooled = dense(p[f"{name}_pooled"], encoded[name][1])
            summaries.append(pooled + mean(attended, masks[name]))
        fused = dense(p["out"], jnp.concatenate(summaries, axis=-1))
        logits = dense(params["task"]["head"], fused)
        wide = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
        return optax.softmax_cross_entropy_with_integer_labels(wide, batch.targets["label"]).mean()

    return loss


def flax_step(size: str, params: Tree, batch: Batch, dtype: str) -> timing.Variant:
    optimizer = optax.chain(
        optax.clip_by_global_norm(OPTIMIZER.max_grad_norm),
        optax.adamw(OPTIMIZER.learning_rate, weight_decay=OPTIMIZER.weight_decay),
    )
    loss_of = flax_loss(size, dtype)

    def step(state: Tree, batch: Batch) -> tuple[Tree, Tree]:
        params, moments = state
        loss, grads = jax.value_and_grad(loss_of)(params, batch)
        updates, moments = optimizer.update(grads, moments, params)
        values = {"loss": loss, "grad_norm": optax.tree.norm(grads)}
        return (optax.apply_updates(params, updates), moments), values

    params = jax.tree.map(jnp.array, params)
    state = (params, optimizer.init(params))
    compiled = jax.jit(step, donate_argnums=0)
    return stepping(f"flax {dtype}", compiled, state, batch, dtype)


def case(size: str, dtype: str, args: argparse.Namespace) -> timing.Case:
    b, n, side, patch, _, _ = harness.dimensions(size, LETTERS)
    batch = example(size)
    variant, params = ours(size, batch, dtype)
    variants = [variant]
    if "flax" in args.against:
        variants += [
            flax_step(size, params, batch, one) for one in dict.fromkeys(("float32", dtype))
        ]

    def loss_and_norm(params: Tree, batch: Batch) -> Tree:
        loss, grads = jax.value_and_grad(flax_loss(size, None))(params, batch)
        return loss, optax.tree.norm(grads)

    return timing.Case(
        size=size,
        what="tokens through a training step",
        variants=variants,
        reference=timing.in_float64(loss_and_norm, params, batch),
        examples=b * (n + (side // patch) ** 2 + 1),
    )


def cases(args: argparse.Namespace) -> Iterator[timing.Case]:
    for size in args.sizes:
        for dtype in args.dtypes:
            yield case(size, dtype, args)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = harness.parser(
        "train_step",
        __doc__,
        sizes=harness.sizes_of(SIZES, ACCELERATOR_SIZES),
        against=("flax",),
    )
    args = parser.parse_args(arguments)
    harness.run("train_step", cases(args), args)


if __name__ == "__main__":
    harness.restart_on_one_core()
    main()

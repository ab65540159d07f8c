"""ViT and DeiT, and ViTs that were pretrained as MAE and MSN."""

from __future__ import annotations

import dataclasses
from typing import Any

from mmjax.core.errors import WeightsError
from mmjax.core.registry import Spec
from mmjax.nn.patches import patch_shape
from mmjax.pretrained.family import Family, Names, activation, image_inputs, only
from mmjax.pretrained.rules import Table, attention, dense, norm, param, patches


def block(theirs: str, ours: str, config: Any, *, qkv_bias: bool | None = None) -> Table:
    """One layer, in the names that ViT and its relatives share; `qkv_bias` if not the config's."""
    qkv_bias = config.qkv_bias if qkv_bias is None else qkv_bias
    return [
        *norm(f"{theirs}.layernorm_before", f"{ours}/attention_norm"),
        *attention(
            f"{theirs}.attention",
            f"{ours}/attention",
            config.num_attention_heads,
            names=("attention.query", "attention.key", "attention.value", "output.dense"),
            bias=True if qkv_bias else ("out",),
        ),
        *norm(f"{theirs}.layernorm_after", f"{ours}/mlp_norm"),
        *dense(f"{theirs}.intermediate.dense", f"{ours}/mlp/up"),
        *dense(f"{theirs}.output.dense", f"{ours}/mlp/down"),
    ]


def embeddings(config: Any) -> Table:
    """What comes before the first layer, in the names that ViT's relatives share."""
    size = patch_shape(pair(config.patch_size), 2)
    return [
        *param("embeddings.cls_token", "class_token"),
        *param("embeddings.mask_token", "mask_token"),
        *param("embeddings.position_embeddings", "positions"),
        *patches("embeddings.patch_embeddings.projection", "patches/projection", size),
    ]


def table(config: Any) -> Table:
    return [
        *embeddings(config),
        *(
            leaf
            for i in range(config.num_hidden_layers)
            for leaf in block(f"encoder.layer.{i}", f"transformer/stack/layer_{i}", config)
        ),
        *norm("layernorm", "transformer/norm"),
        *dense("pooler.dense", "pooler"),
    ]


def deit_table(config: Any) -> Table:
    return [*param("embeddings.distillation_token", "distillation_token"), *table(config)]


def options(config: Any, names: Names) -> dict[str, Any]:
    """What a ViT-shaped config says; without a pooler's weights, the class token is `pooled`."""
    found: dict[str, Any] = {
        "image_size": pair(config.image_size),
        "patch": pair(config.patch_size),
        "width": config.hidden_size,
        "depth": config.num_hidden_layers,
        "heads": config.num_attention_heads,
        "activation": activation(config.hidden_act),
        "eps": config.layer_norm_eps,
        "use_bias": True if config.qkv_bias else ("out",),
        "dropout": config.hidden_dropout_prob,
        "attention_dropout": config.attention_probs_dropout_prob,
        "mask_token": "embeddings.mask_token" in names,
    }
    return found


def vit_options(config: Any, names: Names) -> dict[str, Any]:
    only(config, pooler_output_size=config.hidden_size)
    return {
        **options(config, names),
        "mlp_dim": config.intermediate_size,
        "pooling": "pooler" if "pooler.dense.weight" in names else "cls",
        "pooler_activation": activation(config.pooler_act, "pooler_act"),
    }


def square(config: Any) -> None:
    """Raises WeightsError unless pictures are squares.

    Where transformers always interpolates positions, it takes the learned grid for a square.
    """
    size = pair(config.image_size)
    if not isinstance(size, int) and len(set(size)) > 1:
        raise WeightsError(
            652,
            f"image_size = {list(size)} is not supported",
            where="config.json",
            fix="only squares are: positions are interpolated for other pictures",
        )


def pair(size: Any) -> int | tuple[int, ...]:
    """A size, or one for height and width."""
    return size if isinstance(size, int) else tuple(size)


def bare_options(config: Any, names: Names) -> dict[str, Any]:
    return {**options(config, names), "mlp_dim": config.intermediate_size}


VIT = Family(
    spec=lambda config, names: Spec("vit", **vit_options(config, names)),
    table=table,
    inputs=image_inputs,
    saved_as="ViTModel",
    prefix="vit.",
)

# All patches are seen: what a `mask_ratio` leaves out belongs to its pretraining.
VIT_MAE = dataclasses.replace(
    VIT,
    spec=lambda config, names: Spec("vit", **bare_options(config, names)),
    saved_as="ViTMAEModel",
)

VIT_MSN = dataclasses.replace(VIT_MAE, saved_as="ViTMSNModel")

DEIT = Family(
    spec=lambda config, names: Spec("vit", **vit_options(config, names), distillation_token=True),
    table=deit_table,
    inputs=image_inputs,
    saved_as="DeiTModel",
    prefix="deit.",
)

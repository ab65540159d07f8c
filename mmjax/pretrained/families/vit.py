"""ViT."""

from __future__ import annotations

from typing import Any

from mmjax.core.registry import Spec
from mmjax.pretrained.family import Family, Names, activation, image_inputs
from mmjax.pretrained.rules import Table, attention, dense, norm, param, patches


def block(theirs: str, ours: str, config: Any) -> Table:
    """One layer, in the names that ViT and DeiT share."""
    return [
        *norm(f"{theirs}.layernorm_before", f"{ours}/attention_norm"),
        *attention(
            f"{theirs}.attention",
            f"{ours}/attention",
            config.num_attention_heads,
            names=("attention.query", "attention.key", "attention.value", "output.dense"),
            bias=True if config.qkv_bias else ("out",),
        ),
        *norm(f"{theirs}.layernorm_after", f"{ours}/mlp_norm"),
        *dense(f"{theirs}.intermediate.dense", f"{ours}/mlp/up"),
        *dense(f"{theirs}.output.dense", f"{ours}/mlp/down"),
    ]


def table(config: Any) -> Table:
    size = (config.patch_size, config.patch_size)
    return [
        *param("embeddings.cls_token", "class_token"),
        *param("embeddings.position_embeddings", "positions"),
        *patches("embeddings.patch_embeddings.projection", "patches/projection", size),
        *(
            leaf
            for i in range(config.num_hidden_layers)
            for leaf in block(f"encoder.layer.{i}", f"transformer/stack/layer_{i}", config)
        ),
        *norm("layernorm", "transformer/norm"),
        *dense("pooler.dense", "pooler"),
    ]


def options(config: Any, names: Names) -> dict[str, Any]:
    """What a ViT-shaped config says; without a pooler's weights, the class token is `pooled`."""
    return {
        "image_size": config.image_size,
        "patch": config.patch_size,
        "width": config.hidden_size,
        "depth": config.num_hidden_layers,
        "heads": config.num_attention_heads,
        "mlp_dim": config.intermediate_size,
        "activation": activation(config.hidden_act),
        "eps": config.layer_norm_eps,
        "use_bias": True if config.qkv_bias else ("out",),
        "dropout": config.hidden_dropout_prob,
        "attention_dropout": config.attention_probs_dropout_prob,
        "pooling": "pooler" if "pooler.dense.weight" in names else "cls",
    }


VIT = Family(
    spec=lambda config, names: Spec("vit", **options(config, names)),
    table=table,
    inputs=image_inputs,
    saved_as="ViTModel",
    prefix="vit.",
)

"""DINOv2, without and with registers."""

from __future__ import annotations

import dataclasses
from typing import Any

from mmjax.core.registry import Spec
from mmjax.pretrained.families.vit import embeddings, options, square
from mmjax.pretrained.family import Family, Names, image_inputs
from mmjax.pretrained.rules import Table, attention, dense, norm, param, parts, reshaped


def block(theirs: str, ours: str, config: Any) -> Table:
    hidden = mlp_dim(config)
    mlp = [
        *dense(f"{theirs}.mlp.fc1", f"{ours}/mlp/up"),
        *dense(f"{theirs}.mlp.fc2", f"{ours}/mlp/down"),
    ]
    if config.use_swiglu_ffn:
        joined = f"{theirs}.mlp.weights_in"
        gate, up = dense(joined, f"{ours}/mlp/gate"), dense(joined, f"{ours}/mlp/up")
        mlp = [
            *parts([gate, up], [hidden, hidden]),
            *dense(f"{theirs}.mlp.weights_out", f"{ours}/mlp/down"),
        ]
    return [
        *norm(f"{theirs}.norm1", f"{ours}/attention_norm"),
        *attention(
            f"{theirs}.attention",
            f"{ours}/attention",
            config.num_attention_heads,
            names=("attention.query", "attention.key", "attention.value", "output.dense"),
            bias=True if config.qkv_bias else ("out",),
        ),
        *param(f"{theirs}.layer_scale1.lambda1", f"{ours}/attention_scale"),
        *norm(f"{theirs}.norm2", f"{ours}/mlp_norm"),
        *mlp,
        *param(f"{theirs}.layer_scale2.lambda1", f"{ours}/mlp_scale"),
    ]


def table(config: Any) -> Table:
    return [
        *(leaf for leaf in embeddings(config) if leaf.ours != "params/mask_token"),
        *reshaped("embeddings.mask_token", "mask_token", (1, 1, -1), (1, -1)),
        *param("embeddings.register_tokens", "registers"),
        *(
            leaf
            for i in range(config.num_hidden_layers)
            for leaf in block(f"encoder.layer.{i}", f"transformer/stack/layer_{i}", config)
        ),
        *norm("layernorm", "transformer/norm"),
    ]


def mlp_dim(config: Any) -> int:
    hidden = int(config.hidden_size * config.mlp_ratio)
    if config.use_swiglu_ffn:
        return (int(hidden * 2 / 3) + 7) // 8 * 8
    return hidden


def spec(config: Any, names: Names) -> Spec:
    found = options(config, names)
    square(config)
    if config.use_swiglu_ffn:
        found["activation"] = "silu"
    return Spec(
        "vit",
        **found,
        mlp_dim=mlp_dim(config),
        gated=config.use_swiglu_ffn,
        layer_scale=float(config.layerscale_value),
        drop_path=config.drop_path_rate,
    )


def registers_spec(config: Any, names: Names) -> Spec:
    return spec(config, names).replace(registers=config.num_register_tokens, antialias=True)


DINOV2 = Family(
    spec=spec,
    table=table,
    inputs=image_inputs,
    saved_as="Dinov2Model",
    prefix="dinov2.",
)

DINOV2_WITH_REGISTERS = dataclasses.replace(
    DINOV2,
    spec=registers_spec,
    saved_as="Dinov2WithRegistersModel",
    prefix="dinov2_with_registers.",
)

"""Swin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mmjax.core.registry import Spec
from mmjax.nn.grid_bias import distance_index
from mmjax.nn.patches import patch_shape
from mmjax.pretrained.families.vit import pair
from mmjax.pretrained.family import Family, Names, activation, image_inputs, only
from mmjax.pretrained.rules import Table, attention, dense, norm, param, patches


def block(theirs: str, ours: str, heads: int, config: Any) -> Table:
    return [
        *norm(f"{theirs}.layernorm_before", f"{ours}/attention_norm"),
        *attention(
            f"{theirs}.attention",
            f"{ours}/attention",
            heads,
            names=("self.query", "self.key", "self.value", "output.dense"),
            bias=True if config.qkv_bias else ("out",),
        ),
        *param(
            f"{theirs}.attention.self.relative_position_bias_table",
            f"{ours}/relative_positions/table",
        ),
        *norm(f"{theirs}.layernorm_after", f"{ours}/mlp_norm"),
        *dense(f"{theirs}.intermediate.dense", f"{ours}/mlp/up"),
        *dense(f"{theirs}.output.dense", f"{ours}/mlp/down"),
    ]


def place(stage: int, index: int, depth: int) -> str:
    """Where a block is here: blocks are in pairs, but for the last of an odd depth."""
    if index == depth - 1 and depth % 2:
        return f"stage_{stage}_last"
    return f"stage_{stage}/layer_{index // 2}/{('plain', 'shifted')[index % 2]}"


def table(config: Any) -> Table:
    size = patch_shape(pair(config.patch_size), 2)
    found = [
        *patches("embeddings.patch_embeddings.projection", "patches/projection", size),
        *norm("embeddings.norm", "patches_norm"),
        *param("embeddings.mask_token", "mask_token"),
    ]
    for stage, (depth, heads) in enumerate(zip(config.depths, config.num_heads, strict=True)):
        theirs = f"encoder.layers.{stage}"
        for index in range(depth):
            ours = place(stage, index, depth)
            found += block(f"{theirs}.blocks.{index}", ours, heads, config)
        if stage < len(config.depths) - 1:
            ours = f"stage_{stage + 1}_merge"
            found += norm(f"{theirs}.downsample.norm", f"{ours}/norm")
            found += dense(f"{theirs}.downsample.reduction", f"{ours}/projection", bias=False)
    return [*found, *norm("layernorm", "norm")]


def spec(config: Any, names: Names) -> Spec:
    # transformers' own class adds a table of one position too many, and fails.
    only(config, use_absolute_embeddings=False)
    return Spec(
        "swin",
        patch=pair(config.patch_size),
        width=config.embed_dim,
        depths=tuple(config.depths),
        heads=tuple(config.num_heads),
        window=config.window_size,
        mlp_ratio=config.mlp_ratio,
        activation=activation(config.hidden_act),
        use_bias=True if config.qkv_bias else ("out",),
        eps=config.layer_norm_eps,
        dropout=config.hidden_dropout_prob,
        attention_dropout=config.attention_probs_dropout_prob,
        drop_path=config.drop_path_rate,
        mask_token="embeddings.mask_token" in names,
    )


def indices(config: Any) -> Mapping[str, np.ndarray]:
    """Which entry of its table the bias of each pair is, which torch saves for every block."""
    window = (config.window_size, config.window_size)
    return {
        leaf.theirs.replace("_bias_table", "_index"): distance_index(window, window)
        for leaf in table(config)
        if leaf.theirs.endswith("relative_position_bias_table")
    }


SWIN = Family(
    spec=spec,
    table=table,
    inputs=image_inputs,
    saved_as="SwinModel",
    prefix="swin.",
    ignored=(r".*relative_position_index",),
    constants=indices,
)

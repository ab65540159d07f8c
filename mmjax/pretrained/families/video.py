"""VideoMAE, ViViT and TimeSformer."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmjax.core.registry import Spec
from mmjax.nn.patches import patch_shape
from mmjax.pretrained.families.vit import block, pair
from mmjax.pretrained.family import Family, Inputs, Names, activation, image_inputs
from mmjax.pretrained.rules import (
    Table,
    dense,
    head_bias,
    heads_in,
    heads_out,
    norm,
    param,
    parts,
    patches,
)


def inputs(config: Any) -> Inputs:
    """One video of the config's size."""
    pixels = image_inputs(config)["pixel_values"]
    return {"pixel_values": np.zeros((1, config.num_frames, *pixels.shape[1:]), np.float32)}


def options(config: Any) -> dict[str, Any]:
    return {
        "frames": config.num_frames,
        "image_size": pair(config.image_size),
        "width": config.hidden_size,
        "depth": config.num_hidden_layers,
        "heads": config.num_attention_heads,
        "mlp_dim": config.intermediate_size,
        "activation": activation(config.hidden_act),
        "eps": config.layer_norm_eps,
        "dropout": config.hidden_dropout_prob,
        "attention_dropout": config.attention_probs_dropout_prob,
    }


def videomae_table(config: Any) -> Table:
    size = (config.tubelet_size, *patch_shape(pair(config.patch_size), 2))
    table = [
        *patches("embeddings.patch_embeddings.projection", "patches/projection", size),
        *norm("layernorm", "transformer/norm"),
    ]
    for i in range(config.num_hidden_layers):
        theirs, ours = f"encoder.layer.{i}", f"transformer/stack/layer_{i}"
        table += block(theirs, ours, config, qkv_bias=False)
        for letter, name in (("q", "query"), ("v", "value")):
            table += head_bias(
                f"{theirs}.attention.attention.{letter}_bias",
                f"{ours}/attention/{name}/bias",
                config.num_attention_heads,
            )
    return table


def videomae(config: Any, names: Names) -> Spec:
    return Spec(
        "videomae",
        **options(config),
        tubelet=config.tubelet_size,
        patch=pair(config.patch_size),
        use_bias=("query", "value", "out") if config.qkv_bias else ("out",),
        final_norm=not config.use_mean_pooling,
    )


def vivit_table(config: Any) -> Table:
    size = tuple(config.tubelet_size)
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


def vivit(config: Any, names: Names) -> Spec:
    return Spec(
        "vivit",
        **options(config),
        tubelet=config.tubelet_size[0],
        patch=tuple(config.tubelet_size[1:]),
        use_bias=True if config.qkv_bias else ("out",),
        pooling="pooler" if "pooler.dense.weight" in names else "cls",
    )


_ATTENTION = {
    "divided_space_time": "divided",
    "joint_space_time": "joint",
    "space_only": "space_only",
}


def timesformer_attention(theirs: str, ours: str, config: Any) -> Table:
    """Queries, keys and values are one layer there."""
    heads, width = config.num_attention_heads, config.hidden_size
    joined = [
        heads_in(f"{theirs}.attention.qkv", f"{ours}/{role}", heads, bias=config.qkv_bias)
        for role in ("query", "key", "value")
    ]
    return [
        *parts(joined, [width] * 3),
        *heads_out(f"{theirs}.output.dense", f"{ours}/out", heads),
    ]


def timesformer_table(config: Any) -> Table:
    size = patch_shape(pair(config.patch_size), 2)
    divided = config.attention_type == "divided_space_time"
    inner = "" if divided else "transformer/"
    table = [
        *param("embeddings.cls_token", "class_token"),
        *param("embeddings.position_embeddings", "positions"),
        *param("embeddings.time_embeddings", "times"),
        *patches("embeddings.patch_embeddings.projection", "patches/projection", size),
        *norm("layernorm", f"{inner}norm"),
    ]
    for i in range(config.num_hidden_layers):
        theirs, ours = f"encoder.layer.{i}", f"{inner}stack/layer_{i}"
        table += [
            *norm(f"{theirs}.layernorm_before", f"{ours}/attention_norm"),
            *timesformer_attention(f"{theirs}.attention", f"{ours}/attention", config),
            *norm(f"{theirs}.layernorm_after", f"{ours}/mlp_norm"),
            *dense(f"{theirs}.intermediate.dense", f"{ours}/mlp/up"),
            *dense(f"{theirs}.output.dense", f"{ours}/mlp/down"),
        ]
        if divided:
            temporal = f"{ours}/temporal"
            table += norm(f"{theirs}.temporal_layernorm", f"{temporal}_norm")
            table += timesformer_attention(
                f"{theirs}.temporal_attention", f"{temporal}_attention", config
            )
            table += dense(f"{theirs}.temporal_dense", f"{temporal}_out")
    return table


def timesformer(config: Any, names: Names) -> Spec:
    return Spec(
        "timesformer",
        **options(config),
        patch=pair(config.patch_size),
        use_bias=True if config.qkv_bias else ("out",),
        attention=_ATTENTION[config.attention_type],
        drop_path=float(config.drop_path_rate),
    )


VIDEOMAE = Family(
    spec=videomae,
    table=videomae_table,
    inputs=inputs,
    saved_as="VideoMAEModel",
    prefix="videomae.",
)

VIVIT = Family(
    spec=vivit,
    table=vivit_table,
    inputs=inputs,
    saved_as="VivitModel",
    prefix="vivit.",
)

TIMESFORMER = Family(
    spec=timesformer,
    table=timesformer_table,
    inputs=inputs,
    saved_as="TimesformerModel",
    prefix="timesformer.",
)

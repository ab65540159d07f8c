"""BEiT and Data2Vec's image encoder."""

from __future__ import annotations

import dataclasses
from typing import Any

from mmjax.core.registry import Spec
from mmjax.nn.patches import patch_shape
from mmjax.pretrained.families.vit import pair, square
from mmjax.pretrained.family import Family, Names, activation, image_inputs
from mmjax.pretrained.rules import Table, attention, dense, norm, param, patches


def block(theirs: str, ours: str, config: Any) -> Table:
    return [
        *norm(f"{theirs}.layernorm_before", f"{ours}/attention_norm"),
        *attention(
            f"{theirs}.attention",
            f"{ours}/attention",
            config.num_attention_heads,
            names=("attention.query", "attention.key", "attention.value", "output.dense"),
            bias=("query", "value", "out"),
        ),
        *param(
            f"{theirs}.attention.attention.relative_position_bias.relative_position_bias_table",
            f"{ours}/relative_positions/table",
        ),
        *param(f"{theirs}.lambda_1", f"{ours}/attention_scale"),
        *norm(f"{theirs}.layernorm_after", f"{ours}/mlp_norm"),
        *dense(f"{theirs}.intermediate.dense", f"{ours}/mlp/up"),
        *dense(f"{theirs}.output.dense", f"{ours}/mlp/down"),
        *param(f"{theirs}.lambda_2", f"{ours}/mlp_scale"),
    ]


def table(config: Any) -> Table:
    size = patch_shape(pair(config.patch_size), 2)
    return [
        *param("embeddings.cls_token", "class_token"),
        *param("embeddings.mask_token", "mask_token"),
        *param("embeddings.position_embeddings", "positions"),
        *patches("embeddings.patch_embeddings.projection", "patches/projection", size),
        *param(
            "encoder.relative_position_bias.relative_position_bias_table",
            "relative_positions/table",
        ),
        *(
            leaf
            for i in range(config.num_hidden_layers)
            for leaf in block(f"encoder.layer.{i}", f"stack/layer_{i}", config)
        ),
        *norm("layernorm", "norm"),
        *norm("pooler.layernorm", "pooled_norm"),
    ]


def spec(config: Any, names: Names) -> Spec:
    if config.use_absolute_position_embeddings:
        square(config)
    pooling = "cls"
    if config.use_mean_pooling:
        pooling = "normed_mean" if "pooler.layernorm.weight" in names else "mean"
    scale = config.layer_scale_init_value
    return Spec(
        "beit",
        image_size=pair(config.image_size),
        patch=pair(config.patch_size),
        width=config.hidden_size,
        depth=config.num_hidden_layers,
        heads=config.num_attention_heads,
        mlp_dim=config.intermediate_size,
        activation=activation(config.hidden_act),
        eps=config.layer_norm_eps,
        dropout=config.hidden_dropout_prob,
        attention_dropout=config.attention_probs_dropout_prob,
        drop_path=config.drop_path_rate,
        layer_scale=scale if scale > 0 else None,
        mask_token=config.use_mask_token,
        learned_positions=config.use_absolute_position_embeddings,
        relative=config.use_relative_position_bias,
        shared_relative=config.use_shared_relative_position_bias,
        final_norm=not config.use_mean_pooling,
        pooling=pooling,
    )


BEIT = Family(
    spec=spec,
    table=table,
    inputs=image_inputs,
    saved_as="BeitModel",
    prefix="beit.",
    ignored=(r".*relative_position_index",),
)

DATA2VEC_VISION = dataclasses.replace(
    BEIT, saved_as="Data2VecVisionModel", prefix="data2vec_vision."
)

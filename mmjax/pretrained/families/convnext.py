"""ConvNeXt, the first and the second."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmjax.core.registry import Spec
from mmjax.pretrained.family import Family, Inputs, Names, activation, only
from mmjax.pretrained.rules import Table, conv, dense, norm, param, patches, reshaped


def block(theirs: str, ours: str) -> Table:
    flat, whole = (-1,), (1, 1, 1, -1)
    return [
        *conv(f"{theirs}.dwconv", f"{ours}/depthwise"),
        *norm(f"{theirs}.layernorm", f"{ours}/norm"),
        *dense(f"{theirs}.pwconv1", f"{ours}/up"),
        *reshaped(f"{theirs}.grn.weight", f"{ours}/response_norm/scale", flat, whole),
        *reshaped(f"{theirs}.grn.bias", f"{ours}/response_norm/bias", flat, whole),
        *dense(f"{theirs}.pwconv2", f"{ours}/down"),
        *param(f"{theirs}.layer_scale_parameter", f"{ours}/scale"),
    ]


def table(config: Any) -> Table:
    size = (config.patch_size, config.patch_size)
    found = [
        *patches("embeddings.patch_embeddings", "patches/projection", size),
        *norm("embeddings.layernorm", "patches_norm"),
    ]
    for stage, depth in enumerate(config.depths):
        theirs, ours = f"encoder.stages.{stage}", f"stage_{stage}"
        if stage:
            found += norm(f"{theirs}.downsampling_layer.0", f"{ours}_norm")
            found += patches(f"{theirs}.downsampling_layer.1", f"{ours}_patches/projection", (2, 2))
        for index in range(depth):
            found += block(f"{theirs}.layers.{index}", f"{ours}/layer_{index}")
    return [*found, *norm("layernorm", "norm")]


def inputs(config: Any) -> Inputs:
    side = config.patch_size * 2 ** len(config.depths)
    return {"pixel_values": np.zeros((1, side, side, config.num_channels), np.float32)}


def options(config: Any) -> dict[str, Any]:
    only(config, num_stages=len(config.depths))
    return {
        "patch": config.patch_size,
        "channels": tuple(config.hidden_sizes),
        "depths": tuple(config.depths),
        "activation": activation(config.hidden_act),
        "eps": config.layer_norm_eps,
        "drop_path": config.drop_path_rate,
    }


def first(config: Any, names: Names) -> Spec:
    scale = config.layer_scale_init_value
    return Spec("convnext", **options(config), layer_scale=scale if scale > 0 else None)


def second(config: Any, names: Names) -> Spec:
    return Spec("convnext", **options(config), layer_scale=None, response_norm=True)


CONVNEXT = Family(
    spec=first,
    table=table,
    inputs=inputs,
    saved_as="ConvNextModel",
    prefix="convnext.",
)

CONVNEXT_V2 = Family(
    spec=second,
    table=table,
    inputs=inputs,
    saved_as="ConvNextV2Model",
    prefix="convnextv2.",
)

"""ResNet and RegNet, with their batch statistics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mmjax.core.registry import Spec
from mmjax.pretrained.family import Family, Inputs, Names, activation
from mmjax.pretrained.rules import Table, batch_norm, conv

_CONVS = {"basic": 2, "bottleneck": 3, "x": 3, "y": 3}


def conv_norm(theirs: str, ours: str) -> Table:
    return [
        *conv(f"{theirs}.convolution", f"{ours}/conv", bias=False),
        *batch_norm(f"{theirs}.normalization", f"{ours}/norm"),
    ]


def block(theirs: str, ours: str, kind: str) -> Table:
    count = _CONVS[kind]
    table = []
    for index in range(count):
        # Squeeze and excitation stands before the last.
        position = index + (kind == "y" and index == count - 1)
        table += conv_norm(f"{theirs}.layer.{position}", f"{ours}/conv_{index}")
    if kind == "y":
        table += conv(f"{theirs}.layer.2.attention.0", f"{ours}/excite/reduce")
        table += conv(f"{theirs}.layer.2.attention.2", f"{ours}/excite/expand")
    return table


def table(config: Any) -> Table:
    found = conv_norm("embedder.embedder", "stem")
    inputs = config.embedding_size
    strides = [2 if config.downsample_in_first_stage else 1] + [2] * (len(config.depths) - 1)
    for stage, (outputs, depth) in enumerate(zip(config.hidden_sizes, config.depths, strict=True)):
        theirs, ours = f"encoder.stages.{stage}.layers", f"stage_{stage}"
        if inputs != outputs or strides[stage] != 1:
            found += conv_norm(f"{theirs}.0.shortcut", f"{ours}_first/shortcut")
        found += block(f"{theirs}.0", f"{ours}_first", config.layer_type)
        for index in range(1, depth):
            found += block(f"{theirs}.{index}", f"{ours}/layer_{index - 1}", config.layer_type)
        inputs = outputs
    return found


def counters(config: Any) -> Mapping[str, np.ndarray]:
    """What torch counts besides, for averages without a momentum."""
    names = (leaf.theirs for leaf in table(config) if leaf.theirs.endswith(".running_mean"))
    return {
        f"{name.removesuffix('running_mean')}num_batches_tracked": np.zeros((), np.int64)
        for name in names
    }


def inputs(config: Any) -> Inputs:
    return {"pixel_values": np.zeros((1, 32, 32, config.num_channels), np.float32)}


def options(config: Any) -> dict[str, Any]:
    return {
        "stem": config.embedding_size,
        "channels": tuple(config.hidden_sizes),
        "depths": tuple(config.depths),
        "kind": config.layer_type,
        "activation": activation(config.hidden_act),
    }


def resnet(config: Any, names: Names) -> Spec:
    return Spec(
        "resnet",
        **options(config),
        first_stride=2 if config.downsample_in_first_stage else 1,
        stride_first=config.downsample_in_bottleneck,
    )


def regnet(config: Any, names: Names) -> Spec:
    return Spec("regnet", **options(config), group_width=config.groups_width)


RESNET = Family(
    spec=resnet,
    table=table,
    inputs=inputs,
    saved_as="ResNetModel",
    prefix="resnet.",
    # Flax' basic blocks.
    renames=((r"\.layer\.layer_(\d+)\.", r".layer.\1."),),
    constants=counters,
)

REGNET = Family(
    spec=regnet,
    table=table,
    inputs=inputs,
    saved_as="RegNetModel",
    prefix="regnet.",
    constants=counters,
)

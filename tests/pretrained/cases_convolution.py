"""Convolutional networks: odd sizes, running statistics, every kind of block."""

from __future__ import annotations

import numpy as np
from make_goldens import Case, channels_last

RNG = np.random.RandomState(2)
PIXELS = RNG.standard_normal((2, 3, 13, 18)).astype(np.float32)


def tokens(output):
    """The last stage's positions, row by row."""
    return output.last_hidden_state.flatten(2).transpose(1, 2)


GRID = {"values": tokens, "pooled": lambda output: output.pooler_output.flatten(1)}

RESNET = {"embedding_size": 8, "hidden_sizes": [16, 24], "depths": [2, 3]}

CONVNEXT = {
    "patch_size": 2,
    "hidden_sizes": [8, 12],
    "depths": [1, 2],
    "num_stages": 2,
    "layer_norm_eps": 1e-3,
}
FLAT = {"values": tokens, "pooled": "pooler_output"}

CASES = {
    "resnet": Case(
        "ResNetModel",
        RESNET,
        lambda config: {"pixel_values": PIXELS},
        GRID,
        gradients=(
            "embedder.embedder.convolution.weight",
            "encoder.stages.1.layers.0.shortcut.normalization.weight",
            "encoder.stages.1.layers.2.layer.1.convolution.weight",
        ),
        ours=channels_last,
    ),
    "resnet_first": Case(
        "ResNetModel",
        {**RESNET, "downsample_in_bottleneck": True, "downsample_in_first_stage": True},
        lambda config: {"pixel_values": PIXELS},
        GRID,
        ours=channels_last,
    ),
    "resnet_basic": Case(
        "ResNetModel",
        {**RESNET, "hidden_sizes": [8, 12], "layer_type": "basic", "hidden_act": "silu"},
        lambda config: {"pixel_values": PIXELS},
        GRID,
        ours=channels_last,
    ),
    "regnet": Case(
        "RegNetModel",
        {**RESNET, "groups_width": 8},
        lambda config: {"pixel_values": PIXELS},
        GRID,
        ours=channels_last,
    ),
    "regnet_x": Case(
        "RegNetModel",
        {**RESNET, "groups_width": 12, "layer_type": "x", "hidden_act": "gelu"},
        lambda config: {"pixel_values": PIXELS},
        GRID,
        ours=channels_last,
    ),
    "convnext": Case(
        "ConvNextModel",
        {**CONVNEXT, "layer_scale_init_value": 0.5},
        lambda config: {"pixel_values": PIXELS},
        FLAT,
        gradients=(
            "encoder.stages.0.layers.0.dwconv.weight",
            "encoder.stages.1.downsampling_layer.1.weight",
            "encoder.stages.1.layers.1.layer_scale_parameter",
        ),
        ours=channels_last,
    ),
    "convnext_no_scale": Case(
        "ConvNextModel",
        {**CONVNEXT, "layer_scale_init_value": 0, "hidden_act": "relu", "drop_path_rate": 0.1},
        lambda config: {"pixel_values": PIXELS},
        FLAT,
        ours=channels_last,
    ),
    "convnextv2": Case(
        "ConvNextV2Model",
        {**CONVNEXT, "drop_path_rate": 0.2},
        lambda config: {"pixel_values": PIXELS},
        FLAT,
        gradients=("encoder.stages.1.layers.0.grn.weight",),
        ours=channels_last,
    ),
}

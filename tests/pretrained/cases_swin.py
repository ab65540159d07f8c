"""Swin: windows that shift, borders that fill no window, odd depths and sizes."""

from __future__ import annotations

import numpy as np
from make_goldens import Case, channels_last

RNG = np.random.RandomState(3)
PIXELS = RNG.standard_normal((2, 3, 12, 12)).astype(np.float32)
ODD = RNG.standard_normal((2, 3, 13, 19)).astype(np.float32)

SWIN = {
    "image_size": 12,
    "patch_size": 2,
    "embed_dim": 8,
    "depths": [2, 1],
    "num_heads": [2, 4],
    "window_size": 3,
    "mlp_ratio": 1.6,
}
POOLED = {"values": "last_hidden_state", "pooled": "pooler_output"}

CASES = {
    "swin": Case(
        "SwinModel",
        SWIN,
        lambda config: {"pixel_values": PIXELS},
        POOLED,
        gradients=(
            "encoder.layers.0.blocks.1.attention.self.relative_position_bias_table",
            "encoder.layers.0.downsample.reduction.weight",
        ),
        ours=channels_last,
    ),
    "swin_odd": Case(
        "SwinModel",
        {**SWIN, "depths": [3, 2], "qkv_bias": False, "hidden_act": "relu", "layer_norm_eps": 1e-3},
        lambda config: {"pixel_values": ODD},
        POOLED,
        ours=channels_last,
    ),
}

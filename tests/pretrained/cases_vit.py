"""ViT: rectangular patches of an odd grid, with and without biases."""

from __future__ import annotations

import numpy as np
from make_goldens import Case, channels_last

PIXELS = np.random.RandomState(1).standard_normal((2, 3, 12, 12)).astype(np.float32)

VIT = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "image_size": 12,
    "patch_size": 4,
}

CASES = {
    "vit": Case(
        "ViTModel",
        VIT,
        lambda config: {"pixel_values": PIXELS},
        {"values": "last_hidden_state", "pooled": "pooler_output"},
        gradients=(
            "embeddings.patch_embeddings.projection.weight",
            "encoder.layer.0.attention.attention.key.weight",
        ),
        ours=channels_last,
    ),
    "vit_no_bias": Case(
        "ViTModel",
        {**VIT, "qkv_bias": False, "hidden_act": "relu", "layer_norm_eps": 1e-3},
        lambda config: {"pixel_values": PIXELS},
        {"values": "last_hidden_state", "pooled": "pooler_output"},
        ours=channels_last,
    ),
}

"""ViT and its relatives: biases or not, other picture sizes, extra tokens, masked patches."""

from __future__ import annotations

import numpy as np
from make_goldens import Case, channels_last

RNG = np.random.RandomState(1)
PIXELS = RNG.standard_normal((2, 3, 12, 12)).astype(np.float32)
WIDE = RNG.standard_normal((2, 3, 10, 21)).astype(np.float32)
SMALL = RNG.standard_normal((1, 3, 9, 4)).astype(np.float32)
MASKED = np.array([[1, 0, 0, 1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, 0, 1, 1, 1]], bool)

VIT = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "image_size": 12,
    "patch_size": 4,
}
DINO = {
    **{key: value for key, value in VIT.items() if key != "intermediate_size"},
    "mlp_ratio": 1.6,
    "layerscale_value": 0.5,
}
POOLED = {"values": "last_hidden_state", "pooled": "pooler_output"}

CASES = {
    "vit": Case(
        "ViTModel",
        VIT,
        lambda config: {"pixel_values": PIXELS},
        POOLED,
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
        POOLED,
        ours=channels_last,
    ),
    "vit_wide": Case(
        "ViTModel",
        {**VIT, "pooler_act": "relu"},
        lambda config: {"pixel_values": WIDE},
        POOLED,
        ours=channels_last,
        call={"interpolate_pos_encoding": True},
    ),
    "vit_rectangles": Case(
        "ViTModel",
        {**VIT, "image_size": [10, 21], "patch_size": [2, 5]},
        lambda config: {"pixel_values": WIDE},
        POOLED,
        ours=channels_last,
    ),
    "deit": Case(
        "DeiTModel",
        {**VIT, "layer_norm_eps": 1e-4, "hidden_act": "gelu_new"},
        lambda config: {"pixel_values": PIXELS},
        POOLED,
        ours=channels_last,
    ),
    "deit_small": Case(
        "DeiTModel",
        VIT,
        lambda config: {"pixel_values": SMALL},
        POOLED,
        ours=channels_last,
        call={"interpolate_pos_encoding": True},
    ),
    "dinov2": Case(
        "Dinov2Model",
        {**DINO, "mlp_ratio": 2, "layer_norm_eps": 1e-3, "qkv_bias": False},
        lambda config: {"pixel_values": PIXELS, "bool_masked_pos": MASKED},
        POOLED,
        gradients=(
            "encoder.layer.1.layer_scale1.lambda1",
            "encoder.layer.0.mlp.fc1.weight",
        ),
        ours=channels_last,
    ),
    "dinov2_swiglu": Case(
        "Dinov2Model",
        {**DINO, "use_swiglu_ffn": True, "use_mask_token": False},
        lambda config: {"pixel_values": WIDE},
        POOLED,
        ours=channels_last,
    ),
    "dinov2_with_registers": Case(
        "Dinov2WithRegistersModel",
        {**DINO, "num_register_tokens": 2},
        lambda config: {"pixel_values": WIDE},
        POOLED,
        ours=channels_last,
    ),
    "dinov2_with_registers_small": Case(
        "Dinov2WithRegistersModel",
        {**DINO, "num_register_tokens": 1, "hidden_act": "silu"},
        lambda config: {"pixel_values": SMALL},
        POOLED,
        ours=channels_last,
    ),
    "beit": Case(
        "BeitModel",
        {**VIT, "use_relative_position_bias": True, "layer_norm_eps": 1e-3},
        lambda config: {"pixel_values": PIXELS},
        POOLED,
        gradients=(
            "encoder.layer.0.attention.attention.relative_position_bias"
            ".relative_position_bias_table",
            "encoder.layer.1.lambda_2",
        ),
        ours=channels_last,
    ),
    "beit_wide": Case(
        "BeitModel",
        {**VIT, "use_relative_position_bias": True, "use_shared_relative_position_bias": True},
        lambda config: {"pixel_values": WIDE},
        POOLED,
        ours=channels_last,
    ),
    "beit_masked": Case(
        "BeitModel",
        {
            **VIT,
            "use_shared_relative_position_bias": True,
            "use_absolute_position_embeddings": True,
            "use_mask_token": True,
            "use_mean_pooling": False,
            "layer_scale_init_value": 0,
            "hidden_act": "relu",
        },
        lambda config: {"pixel_values": PIXELS, "bool_masked_pos": MASKED},
        POOLED,
        ours=channels_last,
    ),
    "beit_rectangles": Case(
        "BeitModel",
        {**VIT, "image_size": [12, 20], "use_relative_position_bias": True},
        lambda config: {"pixel_values": WIDE},
        POOLED,
        ours=channels_last,
    ),
    "data2vec-vision": Case(
        "Data2VecVisionModel",
        {**VIT, "use_relative_position_bias": True, "use_mean_pooling": False},
        lambda config: {"pixel_values": PIXELS},
        {"values": "last_hidden_state"},
        ours=channels_last,
    ),
    "vit_mae": Case(
        "ViTMAEModel",
        {**VIT, "mask_ratio": 0.0},
        # It shuffles the patches by this noise, even where none is left out.
        lambda config: {
            "pixel_values": WIDE,
            "noise": np.arange(10, dtype=np.float32)[None].repeat(2, 0),
        },
        {"values": "last_hidden_state", "pooled": lambda output: output.last_hidden_state[:, 0]},
        ours=lambda inputs: {"pixel_values": np.moveaxis(inputs["pixel_values"], -3, -1)},
        call={"interpolate_pos_encoding": True},
    ),
    "vit_msn": Case(
        "ViTMSNModel",
        {**VIT, "hidden_act": "gelu_fast"},
        lambda config: {"pixel_values": PIXELS},
        {"values": "last_hidden_state", "pooled": lambda output: output.last_hidden_state[:, 0]},
        ours=channels_last,
    ),
}

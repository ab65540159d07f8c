"""Video: tubelets of odd clips, positions of other sizes, every kind of attention over time."""

from __future__ import annotations

import numpy as np
from make_goldens import Case, channels_last

RNG = np.random.RandomState(4)
CLIP = RNG.standard_normal((2, 5, 3, 9, 9)).astype(np.float32)
TALL = RNG.standard_normal((2, 4, 3, 17, 9)).astype(np.float32)

VIDEO = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "image_size": 9,
    "num_frames": 5,
}


def first(output):
    return output.last_hidden_state[:, 0]


def frames_in_a_row(output):
    """Space alone has a row a frame."""
    return output.last_hidden_state.reshape(2, -1, 24)


CASES = {
    "videomae": Case(
        "VideoMAEModel",
        {**VIDEO, "patch_size": 4, "tubelet_size": 2},
        lambda config: {"pixel_values": CLIP},
        {
            "values": "last_hidden_state",
            "pooled": lambda output: output.last_hidden_state.mean(1),
        },
        gradients=(
            "encoder.layer.0.attention.attention.q_bias",
            "embeddings.patch_embeddings.projection.weight",
        ),
        ours=channels_last,
    ),
    "videomae_no_bias": Case(
        "VideoMAEModel",
        {
            **VIDEO,
            "patch_size": [4, 3],
            "tubelet_size": 3,
            "qkv_bias": False,
            "use_mean_pooling": False,
            "hidden_act": "relu",
            "layer_norm_eps": 1e-3,
        },
        lambda config: {"pixel_values": CLIP},
        {"values": "last_hidden_state"},
        ours=channels_last,
    ),
    "vivit": Case(
        "VivitModel",
        {**VIDEO, "tubelet_size": [2, 4, 3], "layer_norm_eps": 1e-3},
        lambda config: {"pixel_values": CLIP},
        {"values": "last_hidden_state", "pooled": "pooler_output"},
        ours=channels_last,
    ),
    "timesformer": Case(
        "TimesformerModel",
        {**VIDEO, "patch_size": 4},
        lambda config: {"pixel_values": CLIP},
        {"values": "last_hidden_state", "pooled": first},
        gradients=(
            "encoder.layer.0.temporal_attention.output.dense.weight",
            "embeddings.time_embeddings",
        ),
        ours=channels_last,
    ),
    "timesformer_tall": Case(
        "TimesformerModel",
        {
            **VIDEO,
            "num_frames": 4,
            "patch_size": 4,
            "qkv_bias": False,
            "hidden_act": "relu",
            "drop_path_rate": 0.1,
        },
        lambda config: {"pixel_values": TALL},
        {"values": "last_hidden_state", "pooled": first},
        ours=channels_last,
    ),
    "timesformer_joint": Case(
        "TimesformerModel",
        {**VIDEO, "patch_size": 4, "attention_type": "joint_space_time", "layer_norm_eps": 1e-3},
        lambda config: {"pixel_values": CLIP},
        {"values": "last_hidden_state", "pooled": first},
        ours=channels_last,
    ),
    "timesformer_space": Case(
        "TimesformerModel",
        {**VIDEO, "patch_size": 4, "attention_type": "space_only"},
        lambda config: {"pixel_values": CLIP},
        {
            "values": frames_in_a_row,
            "pooled": lambda output: first(output).reshape(2, -1, 24).mean(1),
        },
        ours=channels_last,
    ),
}

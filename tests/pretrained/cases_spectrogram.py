"""The Audio Spectrogram Transformer: patches that overlap differently over time and bands."""

from __future__ import annotations

import numpy as np
from make_goldens import Case

BANDS = np.random.RandomState(4).standard_normal((2, 19, 11)).astype(np.float32)

AST = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "patch_size": 4,
    "frequency_stride": 3,
    "time_stride": 2,
    "max_length": 19,
    "num_mel_bins": 11,
}


def bands(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`input_features`, as all log-mel bands are called here."""
    return {"input_features": inputs["input_values"]}


OUTPUTS = {"values": "last_hidden_state", "pooled": "pooler_output"}

CASES = {
    "audio-spectrogram-transformer": Case(
        "ASTModel",
        AST,
        lambda config: {"input_values": BANDS},
        OUTPUTS,
        gradients=(
            "embeddings.patch_embeddings.projection.weight",
            "embeddings.position_embeddings",
            "encoder.layer.0.attention.attention.query.weight",
        ),
        ours=bands,
    ),
    "audio-spectrogram-transformer_no_bias": Case(
        "ASTModel",
        {**AST, "qkv_bias": False, "hidden_act": "relu", "layer_norm_eps": 1e-3, "time_stride": 3},
        lambda config: {"input_values": BANDS},
        OUTPUTS,
        ours=bands,
    ),
}

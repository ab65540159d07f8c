"""The Audio Spectrogram Transformer."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmjax.core.registry import Spec
from mmjax.pretrained.families.vit import block
from mmjax.pretrained.family import Family, Inputs, Names, activation
from mmjax.pretrained.rules import Table, conv, norm, param


def table(config: Any) -> Table:
    return [
        *param("embeddings.cls_token", "class_token"),
        *param("embeddings.distillation_token", "distillation_token"),
        *param("embeddings.position_embeddings", "positions"),
        *conv("embeddings.patch_embeddings.projection", "patches"),
        *(
            leaf
            for i in range(config.num_hidden_layers)
            for leaf in block(f"encoder.layer.{i}", f"transformer/stack/layer_{i}", config)
        ),
        *norm("layernorm", "transformer/norm"),
    ]


def options(config: Any, names: Names) -> dict[str, Any]:
    return {
        "max_frames": config.max_length,
        "mel_bins": config.num_mel_bins,
        "patch": config.patch_size,
        "frequency_stride": config.frequency_stride,
        "time_stride": config.time_stride,
        "width": config.hidden_size,
        "depth": config.num_hidden_layers,
        "heads": config.num_attention_heads,
        "mlp_dim": config.intermediate_size,
        "activation": activation(config.hidden_act),
        "eps": float(config.layer_norm_eps),
        "use_bias": True if config.qkv_bias else ("out",),
        "dropout": float(config.hidden_dropout_prob),
        "attention_dropout": float(config.attention_probs_dropout_prob),
    }


def inputs(config: Any) -> Inputs:
    """One sound of the config's length."""
    shape = (1, config.max_length, config.num_mel_bins)
    return {"input_features": np.zeros(shape, np.float32)}


SPECTROGRAM_TRANSFORMER = Family(
    spec=lambda config, names: Spec("spectrogram_transformer", **options(config, names)),
    table=table,
    inputs=inputs,
    saved_as="ASTModel",
    prefix="audio_spectrogram_transformer.",
)

"""WavLM."""

from __future__ import annotations

from typing import Any

from mmjax.core.registry import Spec
from mmjax.pretrained.families import wav2vec2
from mmjax.pretrained.family import Names
from mmjax.pretrained.rules import Table, dense, param, reshaped


def gates(theirs: str, ours: str) -> Table:
    """Of one of WavLM's layers."""
    return [
        *dense(f"{theirs}.attention.gru_rel_pos_linear", f"{ours}/gate"),
        *reshaped(
            f"{theirs}.attention.gru_rel_pos_const", f"{ours}/gate_scale", (-1,), (1, -1, 1, 1)
        ),
    ]


def table(config: Any) -> Table:
    bias = "encoder.layers.0.attention.rel_attn_embed.weight"
    return [
        *wav2vec2.table(config),
        *param(bias, "relative_bias/table"),
        *(
            leaf
            for i in range(config.num_hidden_layers)
            for leaf in gates(f"encoder.layers.{i}", f"transformer/stack/layer_{i}")
        ),
    ]


def options(config: Any, names: Names) -> dict[str, Any]:
    return {
        **wav2vec2.options(config, names),
        "buckets": config.num_buckets,
        "longest": config.max_bucket_distance,
    }


WAVLM = wav2vec2.like(
    "wavlm",
    "WavLMModel",
    spec=lambda config, names: Spec("wavlm", **options(config, names)),
    table=table,
)
WAVLM_CTC = wav2vec2.ctc(WAVLM)

"""Whisper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mmjax import encoders
from mmjax.core.registry import Spec
from mmjax.pretrained.families.bart import block
from mmjax.pretrained.family import Family, Inputs, Names, activation
from mmjax.pretrained.rules import Table, conv, dense, embedding, norm, param

_BIASES = ("query", "value", "out")
_CLASSIFIER = (r"(projector|classifier)\..*", "layer_weights")


def side(theirs: str, ours: str, *, depth: int, heads: int, cross: bool) -> Table:
    """Positions, layers and the last norm; `theirs` and `ours` end with their separators."""
    return [
        *param(f"{theirs}embed_positions.weight", f"{ours}positions"),
        *norm(f"{theirs}layer_norm", f"{ours}transformer/norm"),
        *(
            leaf
            for i in range(depth)
            for leaf in block(
                f"{theirs}layers.{i}",
                f"{ours}transformer/stack/layer_{i}",
                heads,
                cross=cross,
                bias=_BIASES,
            )
        ),
    ]


def encoder_table(config: Any, theirs: str = "", ours: str = "") -> Table:
    depth, heads = config.encoder_layers, config.encoder_attention_heads
    return [
        *conv(f"{theirs}conv1", f"{ours}conv_0"),
        *conv(f"{theirs}conv2", f"{ours}conv_1"),
        *side(theirs, ours, depth=depth, heads=heads, cross=False),
    ]


def table(config: Any) -> Table:
    depth, heads = config.decoder_layers, config.decoder_attention_heads
    head = [] if config.tie_word_embeddings else dense("proj_out", "head", bias=False)
    return [
        *encoder_table(config, "model.encoder.", "encoder/"),
        *embedding("model.decoder.embed_tokens", "words"),
        *side("model.decoder.", "decoder/", depth=depth, heads=heads, cross=True),
        *head,
    ]


def aliases(config: Any) -> Mapping[str, str]:
    words = "model.decoder.embed_tokens.weight"
    return {"proj_out.weight": words} if config.tie_word_embeddings else {}


def encoder_options(config: Any, names: Names) -> dict[str, Any]:
    """What a config says of the encoder; `scale_embedding` changes nothing there either."""
    masks = config.apply_spec_augment
    return {
        "max_frames": 2 * config.max_source_positions,
        "width": config.d_model,
        "depth": config.encoder_layers,
        "heads": config.encoder_attention_heads,
        "mlp_dim": config.encoder_ffn_dim,
        "activation": activation(config.activation_function, "activation_function"),
        "dropout": float(config.dropout),
        "attention_dropout": float(config.attention_dropout),
        "mlp_dropout": float(config.activation_dropout),
        "layer_drop": float(config.encoder_layerdrop),
        "mask_time_rate": float(config.mask_time_prob) if masks else 0.0,
        "mask_time_span": config.mask_time_length,
        "mask_time_least": config.mask_time_min_masks,
        "mask_feature_rate": float(config.mask_feature_prob) if masks else 0.0,
        "mask_feature_span": config.mask_feature_length,
        "mask_feature_least": config.mask_feature_min_masks,
    }


def options(config: Any, names: Names) -> dict[str, Any]:
    return {
        **encoder_options(config, names),
        "vocab_size": config.vocab_size,
        "max_length": config.max_target_positions,
        "decoder_depth": config.decoder_layers,
        "decoder_heads": config.decoder_attention_heads,
        "decoder_mlp_dim": config.decoder_ffn_dim,
        "decoder_layer_drop": float(config.decoder_layerdrop),
        "tied": config.tie_word_embeddings,
    }


def encoder_inputs(config: Any) -> Inputs:
    """Two frames."""
    return {
        "input_features": np.zeros((1, 2, config.num_mel_bins), np.float32),
        "attention_mask": np.ones((1, 2), bool),
    }


def inputs(config: Any) -> Inputs:
    return {**encoder_inputs(config), "decoder_input_ids": np.ones((1, 2), np.int32)}


WHISPER = Family(
    spec=lambda config, names: Spec("whisper", **options(config, names)),
    table=table,
    inputs=inputs,
    saved_as="WhisperForConditionalGeneration",
    registry=encoders.decoders,
    prefix="model.",
    aliases=aliases,
    parts={"encoder": "whisper_encoder"},
)

WHISPER_ENCODER = Family(
    spec=lambda config, names: Spec("whisper_encoder", **encoder_options(config, names)),
    table=encoder_table,
    inputs=encoder_inputs,
    saved_as="WhisperEncoder",
    renames=((r"^(model\.)?encoder\.", ""),),
    left_out=(r"(model\.)?decoder\..*", r"proj_out\.weight", *_CLASSIFIER),
)

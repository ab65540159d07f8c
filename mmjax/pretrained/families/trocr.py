"""TrOCR's decoder, which stands behind an encoder of pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mmjax.core.registry import Spec
from mmjax.pretrained.families.bart import Kind, side
from mmjax.pretrained.family import activation
from mmjax.pretrained.rules import Table, dense, embedding

_WORDS = "model.decoder.embed_tokens"


def _kind(config: Any) -> Kind:
    return Kind(
        "TrOCRForCausalLM",
        positions="learned" if config.use_learned_position_embeddings else "tensor2tensor",
        embeddings_norm="sum" if config.layernorm_embedding else "none",
    )


def table(config: Any) -> Table:
    depth, heads = config.decoder_layers, config.decoder_attention_heads
    found = [
        *embedding(_WORDS, "words"),
        *side("model.decoder.", "decoder/", _kind(config), depth=depth, heads=heads, cross=True),
    ]
    if not config.tie_word_embeddings:
        found += dense("output_projection", "head", bias=False)
    return found


def aliases(config: Any) -> Mapping[str, str]:
    if not config.tie_word_embeddings:
        return {}
    return {"output_projection.weight": f"{_WORDS}.weight"}


def constants(config: Any) -> Mapping[str, np.ndarray]:
    """A buffer that torch saves with fixed positions; nothing reads it."""
    if config.use_learned_position_embeddings:
        return {}
    return {"model.decoder.embed_positions._float_tensor": np.zeros(1, np.float32)}


def spec(config: Any) -> Spec:
    """Positions that are not learned count the tokens that are no padding, as fairseq does."""
    kind, learned = _kind(config), config.use_learned_position_embeddings
    return Spec(
        "context_decoder",
        vocab_size=config.vocab_size,
        max_length=config.max_position_embeddings,
        width=config.d_model,
        depth=config.decoder_layers,
        heads=config.decoder_attention_heads,
        mlp_dim=config.decoder_ffn_dim,
        positions=kind.positions,
        position_offset=2 if learned else config.pad_token_id + 1,
        padding_id=None if learned else config.pad_token_id,
        embeddings_norm=kind.embeddings_norm,
        words_scale=config.d_model**0.5 if config.scale_embedding else 1.0,
        activation=activation(config.activation_function, "activation_function"),
        dropout=config.dropout,
        attention_dropout=config.attention_dropout,
        mlp_dropout=config.activation_dropout,
        layer_drop=config.decoder_layerdrop,
        tied=config.tie_word_embeddings,
    )

"""Encoder-decoders of text: ragged padding on both sides, sides of different sizes."""

from __future__ import annotations

import numpy as np
from make_goldens import Case

RNG = np.random.RandomState(2)


def padded(lengths: tuple[int, ...], padding: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Random tokens with `padding` after each length, and their mask."""
    mask = np.arange(max(lengths)) < np.array(lengths)[:, None]
    ids = RNG.randint(3, 50, mask.shape)
    return np.where(mask, ids, padding), mask.astype(np.int64)


def both_sides(
    padding: int = 1,
    lengths: tuple[int, ...] = (7, 3, 5),
    decoder_lengths: tuple[int, ...] = (2, 5, 4),
) -> dict[str, np.ndarray]:
    ids, mask = padded(lengths, padding)
    decoder_ids, decoder_mask = padded(decoder_lengths, padding)
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "decoder_input_ids": decoder_ids,
        "decoder_attention_mask": decoder_mask,
    }


TEXTS = both_sides()
OUTPUTS = {
    "logits": "logits",
    "encoder": "encoder_last_hidden_state",
    "values": lambda output: output.decoder_hidden_states[-1],
}
CALL = {"output_hidden_states": True}

BART = {
    "vocab_size": 50,
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "max_position_embeddings": 12,
}
UNEQUAL = {
    **BART,
    "decoder_layers": 1,
    "decoder_attention_heads": 4,
    "decoder_ffn_dim": 20,
    "scale_embedding": True,
    "activation_function": "relu",
}

MARIAN = {**UNEQUAL, "pad_token_id": 1, "decoder_start_token_id": 1}

T5 = {
    "vocab_size": 50,
    "d_model": 16,
    "d_kv": 6,
    "d_ff": 24,
    "num_layers": 2,
    "num_heads": 2,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 6,
}
UNEQUAL_T5 = {
    **T5,
    "num_decoder_layers": 1,
    "layer_norm_epsilon": 1e-3,
    "feed_forward_proj": "gated-gelu",
}
LONG_TEXTS = both_sides(0, (13, 4, 9), (11, 2, 6))

CASES = {
    "bart": Case(
        "BartForConditionalGeneration",
        BART,
        lambda config: TEXTS,
        OUTPUTS,
        gradients=(
            "model.decoder.embed_positions.weight",
            "model.encoder.layers.0.self_attn.q_proj.weight",
            "model.decoder.layers.1.encoder_attn.v_proj.weight",
        ),
        call=CALL,
    ),
    "bart_unequal": Case(
        "BartForConditionalGeneration",
        UNEQUAL,
        lambda config: TEXTS,
        OUTPUTS,
        call=CALL,
    ),
    "t5": Case(
        "T5ForConditionalGeneration",
        T5,
        lambda config: LONG_TEXTS,
        OUTPUTS,
        gradients=(
            "shared.weight",
            "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
            "decoder.block.1.layer.1.EncDecAttention.k.weight",
        ),
        call=CALL,
    ),
    "mt5": Case(
        "MT5ForConditionalGeneration", UNEQUAL_T5, lambda config: LONG_TEXTS, OUTPUTS, call=CALL
    ),
    "umt5": Case(
        "UMT5ForConditionalGeneration", UNEQUAL_T5, lambda config: LONG_TEXTS, OUTPUTS, call=CALL
    ),
    "plbart": Case(
        "PLBartForConditionalGeneration",
        {**BART, "activation_function": "silu"},
        lambda config: TEXTS,
        OUTPUTS,
        call=CALL,
    ),
    "mbart": Case(
        "MBartForConditionalGeneration", UNEQUAL, lambda config: TEXTS, OUTPUTS, call=CALL
    ),
    "marian": Case("MarianMTModel", MARIAN, lambda config: TEXTS, OUTPUTS, call=CALL),
    "marian_separate": Case(
        "MarianMTModel",
        {**MARIAN, "share_encoder_decoder_embeddings": False},
        lambda config: TEXTS,
        OUTPUTS,
        call=CALL,
    ),
    "pegasus": Case(
        "PegasusForConditionalGeneration",
        {**UNEQUAL, "pad_token_id": 1},
        lambda config: TEXTS,
        OUTPUTS,
        call=CALL,
    ),
    "blenderbot": Case(
        "BlenderbotForConditionalGeneration",
        {**UNEQUAL, "pad_token_id": 1},
        lambda config: TEXTS,
        OUTPUTS,
        call=CALL,
    ),
    "blenderbot-small": Case(
        "BlenderbotSmallForConditionalGeneration",
        {**UNEQUAL, "pad_token_id": 1},
        lambda config: TEXTS,
        OUTPUTS,
        call=CALL,
    ),
    "m2m_100": Case(
        "M2M100ForConditionalGeneration", UNEQUAL, lambda config: TEXTS, OUTPUTS, call=CALL
    ),
}

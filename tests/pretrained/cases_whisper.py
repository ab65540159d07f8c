"""Whisper: its decoder with ragged texts, sides of different sizes, and its encoder alone."""

from __future__ import annotations

import numpy as np
from make_goldens import Case

RNG = np.random.RandomState(3)
BANDS = RNG.standard_normal((3, 6, 14)).astype(np.float32)
LENGTHS = np.array([6, 3, 1])
TEXT_MASK = (np.arange(6) < LENGTHS[:, None]).astype(np.int64)
TEXT = {
    "decoder_input_ids": np.where(TEXT_MASK, RNG.randint(0, 50, (3, 6)), 49),
    "decoder_attention_mask": TEXT_MASK,
}
SOUND_MASK = (np.arange(14) < np.array([[14], [5], [1]])).astype(np.int64)

WHISPER = {
    "vocab_size": 50,
    "num_mel_bins": 6,
    "d_model": 24,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 3,
    "decoder_attention_heads": 3,
    "encoder_ffn_dim": 40,
    "decoder_ffn_dim": 40,
    "max_source_positions": 7,
    "max_target_positions": 9,
    "pad_token_id": 49,
    "bos_token_id": 48,
    "eos_token_id": 48,
    "decoder_start_token_id": 47,
}
UNEQUAL = {
    **WHISPER,
    "encoder_layers": 1,
    "decoder_attention_heads": 4,
    "decoder_ffn_dim": 20,
    "activation_function": "relu",
    "scale_embedding": True,
    "tie_word_embeddings": False,
}
OUTPUTS = {
    "logits": "logits",
    "encoder": "encoder_last_hidden_state",
    "values": lambda output: output.decoder_hidden_states[-1],
}


def sound_and_text(config) -> dict[str, np.ndarray]:
    """The mask of the sound is there to be passed over, as the torch class does."""
    return {"input_features": BANDS, "attention_mask": SOUND_MASK, **TEXT}


def bands_last(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Theirs are [b f t]."""
    return {**inputs, "input_features": inputs["input_features"].transpose(0, 2, 1)}


CASES = {
    "whisper": Case(
        "WhisperForConditionalGeneration",
        WHISPER,
        sound_and_text,
        OUTPUTS,
        gradients=(
            "model.encoder.conv1.weight",
            "model.encoder.layers.0.self_attn.k_proj.weight",
            "model.decoder.layers.1.encoder_attn.v_proj.bias",
            "model.decoder.embed_positions.weight",
        ),
        ours=bands_last,
        call={"output_hidden_states": True},
    ),
    "whisper_unequal": Case(
        "WhisperForConditionalGeneration",
        UNEQUAL,
        sound_and_text,
        OUTPUTS,
        ours=bands_last,
        call={"output_hidden_states": True},
    ),
}

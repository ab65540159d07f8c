"""Tiny encoders of pictures before decoders of text, and in which ways they generate.

NumPy alone: `make_picture_generation.py` runs transformers' torch classes on the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).resolve().parents[1] / "golden" / "generate" / "picture_generation.json"
VOCABULARY = 48
VIT = {
    "hidden_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "image_size": 8,
    "patch_size": 4,
}
SIDES: dict[str, tuple[str, dict[str, Any]]] = {
    "vit_gpt2": (
        "gpt2",
        {"vocab_size": VOCABULARY, "n_positions": 32, "n_embd": 16, "n_layer": 2, "n_head": 2},
    ),
    "trocr": (
        "trocr",
        {
            "vocab_size": VOCABULARY,
            "d_model": 16,
            "decoder_layers": 2,
            "decoder_attention_heads": 2,
            "decoder_ffn_dim": 24,
            "max_position_embeddings": 32,
            "cross_attention_hidden_size": 12,
        },
    ),
    "trocr_fixed": (
        "trocr",
        {
            "vocab_size": VOCABULARY,
            "d_model": 16,
            "decoder_layers": 2,
            "decoder_attention_heads": 2,
            "decoder_ffn_dim": 24,
            "max_position_embeddings": 32,
            "use_learned_position_embeddings": False,
            "layernorm_embedding": False,
        },
    ),
}
COMMON: dict[str, Any] = {
    "eos_token_id": (3, 7, 11),
    "pad_token_id": 1,
    "decoder_start_token_id": 2,
    "max_new_tokens": 10,
}
CASES: dict[str, dict[str, Any]] = {
    "greedy": {},
    "greedy_penalties": {"repetition_penalty": 1.4, "no_repeat_ngram_size": 2, "min_new_tokens": 5},
    "beams": {"num_beams": 3, "num_return_sequences": 2, "length_penalty": 0.7},
}


def pictures() -> np.ndarray:
    """Channels first, as torch takes them."""
    return np.random.RandomState(5).standard_normal((3, 3, 8, 8)).astype(np.float32)

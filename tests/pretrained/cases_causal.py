"""Decoder-only language models, padded at the left and at the right."""

from __future__ import annotations

import numpy as np
from cases_bert import IDS, MASK
from make_goldens import Case

# Rows: whole, padded at the right, padded at the left.
SIDES = np.stack([MASK[0], MASK[1], MASK[1][::-1]])
TEXT = {"input_ids": IDS, "attention_mask": SIDES}
OUTPUTS = {"logits": "logits", "values": lambda output: output.hidden_states[-1]}
HIDDEN = {"output_hidden_states": True, "use_cache": False}


def counted(config) -> dict[str, np.ndarray]:
    """Positions as generation gives them: from the first valid token on."""
    return {**TEXT, "position_ids": np.maximum(SIDES.cumsum(1) - 1, 0)}


def lm(cls: str, config: dict, inputs=lambda config: TEXT, **further) -> Case:
    return Case(cls, config, inputs, OUTPUTS, call=HIDDEN, **further)


GPT2 = {
    "vocab_size": 50,
    "n_positions": 16,
    "n_embd": 24,
    "n_layer": 2,
    "n_head": 3,
    "bos_token_id": 1,
    "eos_token_id": 1,
}

CASES = {
    "gpt2": lm(
        "GPT2LMHeadModel",
        GPT2,
        lambda config: {"input_ids": IDS, "attention_mask": MASK},
        gradients=("transformer.h.0.attn.c_proj.weight", "transformer.wte.weight"),
    ),
    "gpt2_options": lm(
        "GPT2LMHeadModel",
        {
            **GPT2,
            "n_inner": 40,
            "activation_function": "relu",
            "layer_norm_epsilon": 1e-3,
            "scale_attn_by_inverse_layer_idx": True,
            "scale_attn_weights": False,
            "reorder_and_upcast_attn": True,
            "tie_word_embeddings": False,
        },
        lambda config: {**counted(config), "token_type_ids": IDS[::-1].copy()},
    ),
}

"""BERT: ragged padding, segments, positions, an activation and norm settings of its own."""

from __future__ import annotations

import numpy as np
from make_goldens import Case

RNG = np.random.RandomState(0)
IDS = RNG.randint(1, 50, (3, 7))
LENGTHS = np.array([7, 4, 1])
MASK = (np.arange(7) < LENGTHS[:, None]).astype(np.int64)
SEGMENTS = (np.arange(7) >= 3).astype(np.int64)[None].repeat(3, 0)

TEXT = {"input_ids": IDS, "attention_mask": MASK}

BERT = {
    "vocab_size": 50,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "max_position_embeddings": 16,
    "type_vocab_size": 2,
}

CASES = {
    "bert": Case(
        "BertModel",
        BERT,
        lambda config: {**TEXT, "token_type_ids": SEGMENTS},
        {"values": "last_hidden_state", "pooled": "pooler_output"},
        gradients=(
            "embeddings.word_embeddings.weight",
            "encoder.layer.0.attention.self.query.weight",
            "encoder.layer.1.output.LayerNorm.weight",
        ),
    ),
    "bert_gelu_new": Case(
        "BertModel",
        {**BERT, "hidden_act": "gelu_new", "layer_norm_eps": 1e-3},
        lambda config: {**TEXT, "position_ids": np.arange(7)[None].repeat(3, 0)[:, ::-1].copy()},
        {"values": "last_hidden_state", "pooled": "pooler_output"},
    ),
}

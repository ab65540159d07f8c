"""DeBERTa-v2: log buckets of positions, shared and own projections of them, the convolution."""

from __future__ import annotations

import numpy as np
from cases_bert import BERT
from make_goldens import Case

RNG = np.random.RandomState(3)
LENGTH = 13
TEXT = {
    "input_ids": RNG.randint(1, 50, (3, LENGTH)),
    "attention_mask": (np.arange(LENGTH) < np.array([[13], [6], [1]])).astype(np.int64),
}
SEGMENTS = (np.arange(LENGTH) >= 3).astype(np.int64)[None].repeat(3, 0)
VALUES = {"values": "last_hidden_state"}

V3 = {
    **BERT,
    "type_vocab_size": 0,
    "relative_attention": True,
    "position_buckets": 6,
    "max_relative_positions": -1,
    "max_position_embeddings": 16,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": "p2c|c2p",
    "position_biased_input": False,
    "layer_norm_eps": 1e-7,
}

CASES = {
    "deberta-v2": Case(
        "DebertaV2Model",
        V3,
        lambda config: TEXT,
        VALUES,
    ),
    "deberta-v2_xlarge": Case(
        "DebertaV2Model",
        {**V3, "conv_kernel_size": 3, "conv_act": "gelu", "embedding_size": 16},
        lambda config: {**TEXT, "attention_mask": np.ones((3, LENGTH), np.int64)},
        VALUES,
        gradients=(
            "encoder.rel_embeddings.weight",
            "encoder.layer.0.attention.self.key_proj.weight",
        ),
    ),
    "deberta-v2_own_keys": Case(
        "DebertaV2Model",
        {
            **V3,
            "share_att_key": False,
            "position_buckets": -1,
            "max_relative_positions": 5,
            "norm_rel_ebd": "none",
            "position_biased_input": True,
            "type_vocab_size": 2,
            "hidden_act": "relu",
            "layer_norm_eps": 1e-3,
            "conv_kernel_size": 5,
            "conv_groups": 3,
        },
        lambda config: {**TEXT, "token_type_ids": SEGMENTS},
        VALUES,
    ),
    "deberta-v2_one_term": Case(
        "DebertaV2Model",
        {**V3, "pos_att_type": ["p2c"], "share_att_key": False},
        lambda config: TEXT,
        VALUES,
    ),
}

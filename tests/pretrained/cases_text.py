"""BERT's kin: positions that skip the padding, shared layers, projected embeddings."""

from __future__ import annotations

import numpy as np
from cases_bert import BERT, IDS, MASK, SEGMENTS, TEXT
from make_goldens import Case

BOTH = {"values": "last_hidden_state", "pooled": "pooler_output"}
VALUES = {"values": "last_hidden_state"}


def padded(padding: int, *, left: bool = False) -> dict[str, np.ndarray]:
    """Ids with `padding` where the mask is 0, at the right or the left."""
    mask = MASK[:, ::-1].copy() if left else MASK
    ids = np.where(padding == IDS, padding + 1, IDS)
    return {"input_ids": np.where(mask == 1, ids, padding), "attention_mask": mask}


DISTILBERT = {
    "vocab_size": 50,
    "dim": 24,
    "n_layers": 2,
    "n_heads": 3,
    "hidden_dim": 40,
    "max_position_embeddings": 16,
}

MODERN = {
    "vocab_size": 50,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "max_position_embeddings": 16,
    "pad_token_id": 0,
    "reference_compile": False,
}

CASES = {
    "roberta": Case(
        "RobertaModel",
        {**BERT, "type_vocab_size": 1, "layer_norm_eps": 1e-5},
        lambda config: padded(config.pad_token_id),
        BOTH,
        gradients=("encoder.layer.0.attention.self.value.weight",),
    ),
    "xlm-roberta": Case(
        "XLMRobertaModel",
        {**BERT, "pad_token_id": 3, "hidden_act": "relu", "layer_norm_eps": 1e-3},
        lambda config: {**padded(config.pad_token_id, left=True), "token_type_ids": SEGMENTS},
        BOTH,
    ),
    "camembert": Case(
        "CamembertModel",
        {**BERT, "type_vocab_size": 1},
        lambda config: {
            **padded(config.pad_token_id),
            "position_ids": np.arange(7)[None].repeat(3, 0)[:, ::-1].copy(),
        },
        BOTH,
    ),
    "distilbert": Case(
        "DistilBertModel",
        {**DISTILBERT, "activation": "relu", "sinusoidal_pos_embds": True},
        lambda config: TEXT,
        VALUES,
    ),
    "electra": Case(
        "ElectraModel",
        {**BERT, "embedding_size": 16},
        lambda config: {**TEXT, "token_type_ids": SEGMENTS},
        VALUES,
        gradients=("embeddings_project.weight",),
    ),
    "electra_same_width": Case(
        "ElectraModel",
        {**BERT, "embedding_size": 24, "hidden_act": "silu", "layer_norm_eps": 1e-3},
        lambda config: TEXT,
        VALUES,
    ),
    "albert": Case(
        "AlbertModel",
        {**BERT, "embedding_size": 16, "num_hidden_layers": 3},
        lambda config: {**TEXT, "token_type_ids": SEGMENTS},
        BOTH,
        gradients=("encoder.albert_layer_groups.0.albert_layers.0.attention.query.weight",),
    ),
    "albert_groups": Case(
        "AlbertModel",
        {
            **BERT,
            "embedding_size": 24,
            "num_hidden_layers": 5,
            "num_hidden_groups": 2,
            "inner_group_num": 2,
            "hidden_act": "relu",
            "layer_norm_eps": 1e-3,
        },
        lambda config: TEXT,
        BOTH,
    ),
    "roberta-prelayernorm": Case(
        "RobertaPreLayerNormModel",
        {**BERT, "hidden_act": "relu", "layer_norm_eps": 1e-3},
        lambda config: padded(config.pad_token_id),
        BOTH,
    ),
    "xlm-roberta-xl": Case(
        "XLMRobertaXLModel",
        {**BERT, "type_vocab_size": 1, "hidden_act": "gelu_new"},
        lambda config: padded(config.pad_token_id),
        BOTH,
    ),
    "data2vec-text": Case(
        "Data2VecTextModel",
        {**BERT, "layer_norm_eps": 1e-5},
        lambda config: {**padded(config.pad_token_id), "token_type_ids": SEGMENTS},
        BOTH,
    ),
    "ernie": Case("ErnieModel", BERT, lambda config: TEXT, BOTH),
    "ernie_tasks": Case(
        "ErnieModel",
        {**BERT, "use_task_id": True, "hidden_act": "relu"},
        lambda config: {**TEXT, "token_type_ids": SEGMENTS, "task_type_ids": 2 * SEGMENTS},
        BOTH,
    ),
    "big_bird": Case(
        "BigBirdModel",
        {**BERT, "attention_type": "original_full", "rescale_embeddings": True, "use_bias": False},
        lambda config: {**TEXT, "token_type_ids": SEGMENTS},
        BOTH,
    ),
    "big_bird_sparse": Case(
        "BigBirdModel",
        {**BERT, "block_size": 2, "num_random_blocks": 1, "layer_norm_eps": 1e-3},
        lambda config: TEXT,
        BOTH,
    ),
    "mpnet": Case(
        "MPNetModel",
        {**BERT, "hidden_act": "gelu_new", "layer_norm_eps": 1e-5},
        lambda config: padded(1),
        BOTH,
        gradients=("encoder.relative_attention_bias.weight",),
    ),
    "roformer": Case(
        "RoFormerModel",
        {**BERT, "embedding_size": 16},
        lambda config: {**TEXT, "token_type_ids": SEGMENTS},
        VALUES,
    ),
    "roformer_values": Case(
        "RoFormerModel",
        {**BERT, "rotary_value": True, "hidden_act": "relu", "layer_norm_eps": 1e-3},
        lambda config: TEXT,
        VALUES,
    ),
    "modernbert": Case(
        "ModernBertModel",
        {**MODERN, "num_hidden_layers": 4, "local_attention": 4},
        lambda config: TEXT,
        VALUES,
    ),
    "modernbert_biases": Case(
        "ModernBertModel",
        {
            **MODERN,
            "norm_bias": True,
            "attention_bias": True,
            "mlp_bias": True,
            "global_attn_every_n_layers": 2,
            "local_attention": 3,
            "local_rope_theta": None,
            "global_rope_theta": 50.0,
            "hidden_activation": "silu",
            "norm_eps": 1e-3,
        },
        lambda config: {
            "input_ids": IDS,
            "attention_mask": np.ones((3, 7), np.int64),
            "position_ids": np.arange(7)[None, ::-1].copy(),
        },
        VALUES,
        gradients=("layers.0.mlp.Wo.weight", "layers.1.attn.Wo.weight"),
    ),
}

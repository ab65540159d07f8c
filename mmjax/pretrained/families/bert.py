"""BERT, and RoBERTa and its kin, which count positions from the padding on."""

from __future__ import annotations

import dataclasses
from typing import Any

from mmjax.core.registry import Spec
from mmjax.pretrained.family import Family, Names, activation, only, text_inputs
from mmjax.pretrained.rules import Table, attention, dense, embedding, norm


def block(theirs: str, ours: str, heads: int, *, bias: bool | tuple[str, ...] = True) -> Table:
    """One layer, in the names that BERT, RoBERTa and ELECTRA share."""
    return [
        *attention(
            f"{theirs}.attention",
            f"{ours}/attention",
            heads,
            names=("self.query", "self.key", "self.value", "output.dense"),
            bias=bias,
        ),
        *norm(f"{theirs}.attention.output.LayerNorm", f"{ours}/attention_norm"),
        *dense(f"{theirs}.intermediate.dense", f"{ours}/mlp/up"),
        *dense(f"{theirs}.output.dense", f"{ours}/mlp/down"),
        *norm(f"{theirs}.output.LayerNorm", f"{ours}/mlp_norm"),
    ]


def embeddings(config: Any) -> Table:
    """What stands before the blocks, in the names that BERT, ELECTRA and ALBERT share."""
    return [
        *embedding("embeddings.word_embeddings", "words"),
        *embedding("embeddings.position_embeddings", "positions"),
        *embedding("embeddings.token_type_embeddings", "segments"),
        *norm("embeddings.LayerNorm", "embeddings_norm"),
    ]


def blocks(config: Any) -> Table:
    return [
        leaf
        for i in range(config.num_hidden_layers)
        for leaf in block(
            f"encoder.layer.{i}", f"transformer/stack/layer_{i}", config.num_attention_heads
        )
    ]


def table(config: Any) -> Table:
    return [*embeddings(config), *blocks(config), *dense("pooler.dense", "pooler")]


def options(config: Any, names: Names) -> dict[str, Any]:
    """What a BERT-shaped config says; without a pooler's weights, the tokens' mean is `pooled`."""
    only(config, position_embedding_type="absolute", is_decoder=False, add_cross_attention=False)
    return {
        "vocab_size": config.vocab_size,
        "max_length": config.max_position_embeddings,
        "width": config.hidden_size,
        "depth": config.num_hidden_layers,
        "heads": config.num_attention_heads,
        "mlp_dim": config.intermediate_size,
        "segments": getattr(config, "type_vocab_size", 0),
        "activation": activation(config.hidden_act),
        "eps": float(config.layer_norm_eps),
        "dropout": float(config.hidden_dropout_prob),
        "attention_dropout": float(config.attention_probs_dropout_prob),
        "pooling": "cls" if "pooler.dense.weight" in names else "mean",
    }


def roberta_options(config: Any, names: Names) -> dict[str, Any]:
    return {
        **options(config, names),
        "positions": "after_padding",
        "padding_id": config.pad_token_id,
    }


_OLD_NORMS = ((r"LayerNorm\.gamma$", "LayerNorm.weight"), (r"LayerNorm\.beta$", "LayerNorm.bias"))

BERT = Family(
    spec=lambda config, names: Spec("text_transformer", **options(config, names)),
    table=table,
    inputs=text_inputs,
    saved_as="BertModel",
    prefix="bert.",
    renames=_OLD_NORMS,
)

ROBERTA = Family(
    spec=lambda config, names: Spec("text_transformer", **roberta_options(config, names)),
    table=table,
    inputs=text_inputs,
    saved_as="RobertaModel",
    prefix="roberta.",
    renames=_OLD_NORMS,
)

XLM_ROBERTA = dataclasses.replace(ROBERTA, saved_as="XLMRobertaModel")
CAMEMBERT = dataclasses.replace(ROBERTA, saved_as="CamembertModel")

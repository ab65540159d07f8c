"""DistilBERT."""

from __future__ import annotations

from typing import Any

from mmjax.core.registry import Spec
from mmjax.pretrained.family import Family, Names, activation, text_inputs
from mmjax.pretrained.rules import Table, attention, dense, embedding, norm


def block(theirs: str, ours: str, heads: int) -> Table:
    return [
        *attention(
            f"{theirs}.attention",
            f"{ours}/attention",
            heads,
            names=("q_lin", "k_lin", "v_lin", "out_lin"),
        ),
        *norm(f"{theirs}.sa_layer_norm", f"{ours}/attention_norm"),
        *dense(f"{theirs}.ffn.lin1", f"{ours}/mlp/up"),
        *dense(f"{theirs}.ffn.lin2", f"{ours}/mlp/down"),
        *norm(f"{theirs}.output_layer_norm", f"{ours}/mlp_norm"),
    ]


def table(config: Any) -> Table:
    return [
        *embedding("embeddings.word_embeddings", "words"),
        *embedding("embeddings.position_embeddings", "positions"),
        *norm("embeddings.LayerNorm", "embeddings_norm"),
        *(
            leaf
            for i in range(config.n_layers)
            for leaf in block(
                f"transformer.layer.{i}", f"transformer/stack/layer_{i}", config.n_heads
            )
        ),
    ]


def options(config: Any, names: Names) -> dict[str, Any]:
    """Sinusoidal positions are among the weights, so `sinusoidal_pos_embds` changes nothing."""
    return {
        "vocab_size": config.vocab_size,
        "max_length": config.max_position_embeddings,
        "width": config.dim,
        "depth": config.n_layers,
        "heads": config.n_heads,
        "mlp_dim": config.hidden_dim,
        "segments": 0,
        "activation": activation(config.activation, "activation"),
        "eps": 1e-12,
        "dropout": float(config.dropout),
        "attention_dropout": float(config.attention_dropout),
        "pooling": "mean",
    }


DISTILBERT = Family(
    spec=lambda config, names: Spec("text_transformer", **options(config, names)),
    table=table,
    inputs=text_inputs,
    saved_as="DistilBertModel",
    prefix="distilbert.",
)

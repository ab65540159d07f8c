"""ModernBERT."""

from __future__ import annotations

from typing import Any

from mmjax.core.registry import Spec
from mmjax.pretrained.family import Family, Names, activation, only, text_inputs
from mmjax.pretrained.rules import Table, dense, embedding, heads_in, heads_out, norm, parts


def block(theirs: str, ours: str, config: Any) -> Table:
    heads, width, bias = config.num_attention_heads, config.hidden_size, config.attention_bias
    inputs = [
        heads_in(f"{theirs}.attn.Wqkv", f"{ours}/attention/{role}", heads, bias=bias)
        for role in ("query", "key", "value")
    ]
    gated = [
        dense(f"{theirs}.mlp.Wi", f"{ours}/mlp/{role}", bias=config.mlp_bias)
        for role in ("gate", "up")
    ]
    return [
        *parts(inputs, (width,) * 3),
        *heads_out(f"{theirs}.attn.Wo", f"{ours}/attention/out", heads, bias=bias),
        *norm(f"{theirs}.mlp_norm", f"{ours}/mlp_norm", bias=config.norm_bias),
        *parts(gated, (config.intermediate_size,) * 2),
        *dense(f"{theirs}.mlp.Wo", f"{ours}/mlp/down", bias=config.mlp_bias),
    ]


def table(config: Any) -> Table:
    found = [
        *embedding("embeddings.tok_embeddings", "words"),
        *norm("embeddings.norm", "embeddings_norm", bias=config.norm_bias),
        *block("layers.0", "first/layer_0", config),
        *norm("final_norm", "norm", bias=config.norm_bias),
    ]
    for i in range(1, config.num_hidden_layers):
        ours = f"stack/layer_{i - 1}"
        found += norm(f"layers.{i}.attn_norm", f"{ours}/attention_norm", bias=config.norm_bias)
        found += block(f"layers.{i}", ours, config)
    return found


def options(config: Any, names: Names) -> dict[str, Any]:
    only(config, rope_scaling=None, attention_dropout=0.0)
    local_base = config.local_rope_theta
    return {
        "vocab_size": config.vocab_size,
        "width": config.hidden_size,
        "depth": config.num_hidden_layers,
        "heads": config.num_attention_heads,
        "mlp_dim": config.intermediate_size,
        "activation": activation(config.hidden_activation, "hidden_activation"),
        "norm_kind": "layer" if config.norm_bias else "layer_unbiased",
        "eps": float(config.norm_eps),
        "use_bias": config.attention_bias,
        "mlp_bias": config.mlp_bias,
        "global_every": config.global_attn_every_n_layers,
        "window": config.local_attention,
        "global_base": float(config.global_rope_theta),
        "local_base": float(config.global_rope_theta if local_base is None else local_base),
        "embeddings_dropout": float(config.embedding_dropout),
        "mlp_dropout": float(config.mlp_dropout),
        "pooling": "mean" if config.classifier_pooling == "mean" else "first",
    }


MODERNBERT = Family(
    spec=lambda config, names: Spec("modernbert", **options(config, names)),
    table=table,
    inputs=text_inputs,
    saved_as="ModernBertModel",
    prefix="model.",
)

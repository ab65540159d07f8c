"""DeBERTa-v2, DeBERTa-v3 and mDeBERTa-v3."""

from __future__ import annotations

from typing import Any

from mmjax.core.registry import Spec
from mmjax.pretrained.family import Family, Names, activation, only, text_inputs
from mmjax.pretrained.rules import Table, attention, conv, dense, embedding, heads_in, norm, param


def _terms(config: Any) -> list[str]:
    return list(config.pos_att_type or ())


def _projects(config: Any) -> bool:
    return getattr(config, "embedding_size", config.hidden_size) != config.hidden_size


def _has_conv(config: Any) -> bool:
    return getattr(config, "conv_kernel_size", 0) > 0


def _norms_positions(config: Any) -> bool:
    said = getattr(config, "norm_rel_ebd", "none").lower().split("|")
    return "layer_norm" in [part.strip() for part in said]


def block(theirs: str, ours: str, config: Any) -> Table:
    heads = config.num_attention_heads
    table = [
        *attention(
            f"{theirs}.attention",
            f"{ours}/attention",
            heads,
            names=("self.query_proj", "self.key_proj", "self.value_proj", "output.dense"),
        ),
        *norm(f"{theirs}.attention.output.LayerNorm", f"{ours}/attention_norm"),
        *dense(f"{theirs}.intermediate.dense", f"{ours}/mlp/up"),
        *dense(f"{theirs}.output.dense", f"{ours}/mlp/down"),
        *norm(f"{theirs}.output.LayerNorm", f"{ours}/mlp_norm"),
    ]
    if config.relative_attention and not getattr(config, "share_att_key", False):
        for term, role in (("c2p", "key"), ("p2c", "query")):
            if term in _terms(config):
                name = f"{theirs}.attention.self.pos_{role}_proj"
                table += heads_in(name, f"{ours}/attention/position_{role}", heads)
    return table


def table(config: Any) -> Table:
    found = [*embedding("embeddings.word_embeddings", "words")]
    if config.position_biased_input:
        found += embedding("embeddings.position_embeddings", "positions")
    if config.type_vocab_size > 0:
        found += embedding("embeddings.token_type_embeddings", "segments")
    if _projects(config):
        found += dense("embeddings.embed_proj", "projection", bias=False)
    found += norm("embeddings.LayerNorm", "embeddings_norm")
    if config.relative_attention:
        found += param("encoder.rel_embeddings.weight", "relative_positions")
        if _norms_positions(config):
            found += norm("encoder.LayerNorm", "relative_norm")
    if _has_conv(config):
        found += conv("encoder.conv.conv", "conv")
        found += norm("encoder.conv.LayerNorm", "conv_norm")
    for i in range(config.num_hidden_layers):
        ours = f"stack/layer_{i}"
        if _has_conv(config):
            ours = "first/layer_0" if i == 0 else f"stack/layer_{i - 1}"
        found += block(f"encoder.layer.{i}", ours, config)
    return found


def options(config: Any, names: Names) -> dict[str, Any]:
    only(config, attention_head_size=config.hidden_size // config.num_attention_heads)
    reach = getattr(config, "max_relative_positions", -1)
    return {
        "vocab_size": config.vocab_size,
        "max_length": config.max_position_embeddings,
        "width": config.hidden_size,
        "depth": config.num_hidden_layers,
        "heads": config.num_attention_heads,
        "mlp_dim": config.intermediate_size,
        "activation": activation(config.hidden_act),
        "eps": float(config.layer_norm_eps),
        "dropout": float(config.hidden_dropout_prob),
        "attention_dropout": float(config.attention_probs_dropout_prob),
        "segments": config.type_vocab_size,
        "positions": config.position_biased_input,
        "embedding_width": config.embedding_size if _projects(config) else None,
        "relative": config.relative_attention,
        "max_distance": reach if reach >= 1 else config.max_position_embeddings,
        "buckets": max(0, getattr(config, "position_buckets", -1)),
        "relative_norm": config.relative_attention and _norms_positions(config),
        "content_to_position": "c2p" in _terms(config),
        "position_to_content": "p2c" in _terms(config),
        "share_keys": getattr(config, "share_att_key", False),
        "conv_kernel": getattr(config, "conv_kernel_size", 0),
        "conv_groups": getattr(config, "conv_groups", 1),
        "conv_activation": activation(getattr(config, "conv_act", "tanh"), "conv_act"),
    }


DEBERTA_V2 = Family(
    spec=lambda config, names: Spec("deberta", **options(config, names)),
    table=table,
    inputs=text_inputs,
    saved_as="DebertaV2Model",
    prefix="deberta.",
    # Models trained with positions in the enhanced mask decoder alone keep their table.
    left_out=(r"embeddings\.position_embeddings\..*",),
)

"""ALBERT."""

from __future__ import annotations

from typing import Any

from mmjax.core.registry import Spec
from mmjax.pretrained.families import bert
from mmjax.pretrained.family import Family, Names, text_inputs
from mmjax.pretrained.rules import Table, attention, dense, norm


def block(theirs: str, ours: str, heads: int) -> Table:
    return [
        *attention(
            f"{theirs}.attention",
            f"{ours}/attention",
            heads,
            names=("query", "key", "value", "dense"),
        ),
        *norm(f"{theirs}.attention.LayerNorm", f"{ours}/attention_norm"),
        *dense(f"{theirs}.ffn", f"{ours}/mlp/up"),
        *dense(f"{theirs}.ffn_output", f"{ours}/mlp/down"),
        *norm(f"{theirs}.full_layer_layer_norm", f"{ours}/mlp_norm"),
    ]


def table(config: Any) -> Table:
    return [
        *bert.embeddings(config),
        *dense("encoder.embedding_hidden_mapping_in", "projection"),
        *(
            leaf
            for group in range(config.num_hidden_groups)
            for inner in range(config.inner_group_num)
            for leaf in block(
                f"encoder.albert_layer_groups.{group}.albert_layers.{inner}",
                f"transformer/group_{group}/shared/stack/layer_{inner}",
                config.num_attention_heads,
            )
        ),
        *dense("pooler", "pooler"),
    ]


def options(config: Any, names: Names) -> dict[str, Any]:
    return {
        **bert.options(config, names),
        "embedding_width": config.embedding_size,
        "groups": config.num_hidden_groups,
        "inner": config.inner_group_num,
        "pooling": "cls" if "pooler.weight" in names else "mean",
    }


ALBERT = Family(
    spec=lambda config, names: Spec("albert", **options(config, names)),
    table=table,
    inputs=text_inputs,
    saved_as="AlbertModel",
    prefix="albert.",
)

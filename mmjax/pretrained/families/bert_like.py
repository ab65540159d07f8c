"""Model types that differ from BERT or RoBERTa in a table, a norm or their positions."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from mmjax.core.registry import Spec
from mmjax.nn.positions import sinusoid_table
from mmjax.pretrained.families import bert
from mmjax.pretrained.family import Family, Names, only, text_inputs
from mmjax.pretrained.rules import Table, attention, dense, embedding, norm, param

_SELF = ("self.query", "self.key", "self.value", "output.dense")


def _layers(block: Any, config: Any, ours: str = "transformer/stack") -> Table:
    return [
        leaf
        for i in range(config.num_hidden_layers)
        for leaf in block(f"encoder.layer.{i}", f"{ours}/layer_{i}", config)
    ]


def _pre_norm_block(theirs: str, ours: str, config: Any) -> Table:
    own = f"{theirs}.attention"
    return [
        *norm(f"{own}.LayerNorm", f"{ours}/attention_norm"),
        *attention(own, f"{ours}/attention", config.num_attention_heads, names=_SELF),
        *norm(f"{theirs}.intermediate.LayerNorm", f"{ours}/mlp_norm"),
        *dense(f"{theirs}.intermediate.dense", f"{ours}/mlp/up"),
        *dense(f"{theirs}.output.dense", f"{ours}/mlp/down"),
    ]


def _pre_norm_table(config: Any) -> Table:
    return [
        *bert.embeddings(config),
        *_layers(_pre_norm_block, config),
        *norm("LayerNorm", "transformer/norm"),
        *dense("pooler.dense", "pooler"),
    ]


def _pre_norm_options(config: Any, names: Names) -> dict[str, Any]:
    return {**bert.roberta_options(config, names), "norm": "pre", "embeddings_norm": True}


ROBERTA_PRELAYERNORM = dataclasses.replace(
    bert.ROBERTA,
    spec=lambda config, names: Spec("text_transformer", **_pre_norm_options(config, names)),
    table=_pre_norm_table,
    saved_as="RobertaPreLayerNormModel",
    prefix="roberta_prelayernorm.",
)


def _xl_block(theirs: str, ours: str, config: Any) -> Table:
    own = f"{theirs}.attention"
    return [
        *norm(f"{own}.self_attn_layer_norm", f"{ours}/attention_norm"),
        *attention(own, f"{ours}/attention", config.num_attention_heads, names=_SELF),
        *norm(f"{theirs}.LayerNorm", f"{ours}/mlp_norm"),
        *dense(f"{theirs}.intermediate.dense", f"{ours}/mlp/up"),
        *dense(f"{theirs}.output.dense", f"{ours}/mlp/down"),
    ]


def _xl_table(config: Any) -> Table:
    return [
        *embedding("embeddings.word_embeddings", "words"),
        *embedding("embeddings.position_embeddings", "positions"),
        *embedding("embeddings.token_type_embeddings", "segments"),
        *_layers(_xl_block, config),
        *norm("encoder.LayerNorm", "transformer/norm"),
        *dense("pooler.dense", "pooler"),
    ]


XLM_ROBERTA_XL = dataclasses.replace(
    bert.ROBERTA,
    spec=lambda config, names: Spec(
        "text_transformer", **bert.roberta_options(config, names), norm="pre"
    ),
    table=_xl_table,
    saved_as="XLMRobertaXLModel",
)

DATA2VEC_TEXT = dataclasses.replace(
    bert.ROBERTA, saved_as="Data2VecTextModel", prefix="data2vec_text."
)


def _ernie_table(config: Any) -> Table:
    if not config.use_task_id:
        return bert.table(config)
    return [*bert.table(config), *embedding("embeddings.task_type_embeddings", "tasks")]


def _ernie_options(config: Any, names: Names) -> dict[str, Any]:
    tasks = config.task_type_vocab_size if config.use_task_id else 0
    return {**bert.options(config, names), "tasks": tasks}


ERNIE = dataclasses.replace(
    bert.BERT,
    spec=lambda config, names: Spec("text_transformer", **_ernie_options(config, names)),
    table=_ernie_table,
    saved_as="ErnieModel",
    prefix="ernie.",
)


def _big_bird_block(theirs: str, ours: str, config: Any) -> Table:
    has_bias = True if config.use_bias else ("out",)
    return bert.block(theirs, ours, config.num_attention_heads, bias=has_bias)


def _big_bird_table(config: Any) -> Table:
    layers = _layers(_big_bird_block, config)
    return [*bert.embeddings(config), *layers, *dense("pooler", "pooler")]


def _big_bird_options(config: Any, names: Names) -> dict[str, Any]:
    """Sparse attention is full up to a length, and that is how far it is supported."""
    blocks = 5 + 2 * config.num_random_blocks
    sparse = config.attention_type == "block_sparse"
    return {
        **bert.options(config, names),
        "words_scale": config.hidden_size**0.5 if config.rescale_embeddings else 1.0,
        "use_bias": True if config.use_bias else ("out",),
        "longest": blocks * config.block_size if sparse else None,
        "pooling": "cls" if "pooler.weight" in names else "mean",
    }


BIG_BIRD = dataclasses.replace(
    bert.BERT,
    spec=lambda config, names: Spec("text_transformer", **_big_bird_options(config, names)),
    table=_big_bird_table,
    saved_as="BigBirdModel",
)


def _mpnet_block(theirs: str, ours: str, config: Any) -> Table:
    own = f"{theirs}.attention"
    names = ("attn.q", "attn.k", "attn.v", "attn.o")
    return [
        *attention(own, f"{ours}/attention", config.num_attention_heads, names=names),
        *norm(f"{own}.LayerNorm", f"{ours}/attention_norm"),
        *dense(f"{theirs}.intermediate.dense", f"{ours}/mlp/up"),
        *dense(f"{theirs}.output.dense", f"{ours}/mlp/down"),
        *norm(f"{theirs}.output.LayerNorm", f"{ours}/mlp_norm"),
    ]


def _mpnet_table(config: Any) -> Table:
    return [
        *embedding("embeddings.word_embeddings", "words"),
        *embedding("embeddings.position_embeddings", "positions"),
        *norm("embeddings.LayerNorm", "embeddings_norm"),
        *param("encoder.relative_attention_bias.weight", "relative_bias/table"),
        *_layers(_mpnet_block, config),
        *dense("pooler.dense", "pooler"),
    ]


def _mpnet_options(config: Any, names: Names) -> dict[str, Any]:
    """Its padding is id 1, and distances have 32 bins, whatever the config says."""
    only(config, relative_attention_num_buckets=32)
    return {**bert.options(config, names), "segments": 0}


MPNET = Family(
    spec=lambda config, names: Spec("mpnet", **_mpnet_options(config, names)),
    table=_mpnet_table,
    inputs=text_inputs,
    saved_as="MPNetModel",
    prefix="mpnet.",
)


def _roformer_table(config: Any) -> Table:
    projects = config.embedding_size != config.hidden_size
    return [
        *embedding("embeddings.word_embeddings", "words"),
        *embedding("embeddings.token_type_embeddings", "segments"),
        *norm("embeddings.LayerNorm", "embeddings_norm"),
        *(dense("embeddings_project", "projection") if projects else []),
        *_layers(
            lambda theirs, ours, config: bert.block(theirs, ours, config.num_attention_heads),
            config,
            "stack",
        ),
    ]


def _roformer_options(config: Any, names: Names) -> dict[str, Any]:
    width = config.embedding_size if config.embedding_size != config.hidden_size else None
    return {
        **bert.options(config, names),
        "embedding_width": width,
        "rotate_values": config.rotary_value,
    }


def _sinusoids(config: Any) -> dict[str, np.ndarray]:
    head_dim = config.hidden_size // config.num_attention_heads
    table = sinusoid_table(config.max_position_embeddings, head_dim, layout="halves")
    return {"encoder.embed_positions.weight": table}


ROFORMER = Family(
    spec=lambda config, names: Spec("roformer", **_roformer_options(config, names)),
    table=_roformer_table,
    inputs=text_inputs,
    saved_as="RoFormerModel",
    prefix="roformer.",
    ignored=(*Family.ignored, r"encoder\.embed_positions\.weight"),
    constants=_sinusoids,
)

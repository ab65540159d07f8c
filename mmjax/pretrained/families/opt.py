"""OPT and XGLM."""

from __future__ import annotations

import math
from typing import Any

from mmjax.pretrained.families.causal import Causal, layers
from mmjax.pretrained.family import activation, only
from mmjax.pretrained.rules import Table, attention, dense, embedding, norm


def _block(heads: int, bias: bool):
    """One layer, in the names that both share."""

    def block(theirs: str, ours: str) -> Table:
        return [
            *attention(
                f"{theirs}.self_attn",
                f"{ours}/attention",
                heads,
                names=("q_proj", "k_proj", "v_proj", "out_proj"),
                bias=bias,
            ),
            *norm(f"{theirs}.self_attn_layer_norm", f"{ours}/attention_norm"),
            *dense(f"{theirs}.fc1", f"{ours}/mlp/up", bias=bias),
            *dense(f"{theirs}.fc2", f"{ours}/mlp/down", bias=bias),
            *norm(f"{theirs}.final_layer_norm", f"{ours}/mlp_norm"),
        ]

    return block


def _projects(config: Any) -> bool:
    return config.word_embed_proj_dim != config.hidden_size


def _has_norm(config: Any) -> bool:
    return config.do_layer_norm_before and not config._remove_final_layer_norm


def _opt_table(config: Any) -> Table:
    found = [
        *embedding("decoder.embed_tokens", "words"),
        *embedding("decoder.embed_positions", "positions"),
    ]
    if _projects(config):
        found += dense("decoder.project_in", "projection", bias=False)
        found += dense("decoder.project_out", "projection_out", bias=False)
    if _has_norm(config):
        found += norm("decoder.final_layer_norm", "norm")
    block = _block(config.num_attention_heads, config.enable_bias)
    return [*found, *layers(block, "decoder.layers", config.num_hidden_layers)]


def _opt_options(config: Any) -> dict[str, Any]:
    only(config, layer_norm_elementwise_affine=True)
    return {
        "vocab_size": config.vocab_size,
        "max_length": config.max_position_embeddings,
        "position_offset": 2,
        "count_valid": True,
        "width": config.hidden_size,
        "depth": config.num_hidden_layers,
        "heads": config.num_attention_heads,
        "mlp_dim": config.ffn_dim,
        "norm": "pre" if config.do_layer_norm_before else "post",
        "final_norm": _has_norm(config),
        "activation": activation(config.activation_function, "activation_function"),
        "use_bias": config.enable_bias,
        "mlp_bias": config.enable_bias,
        "embedding_width": config.word_embed_proj_dim if _projects(config) else None,
        "eps": 1e-5,
        "dropout": float(config.dropout),
        "attention_dropout": float(config.attention_dropout),
        "layer_drop": float(config.layerdrop),
    }


_OPT = Causal(
    model_type="opt",
    options=_opt_options,
    table=_opt_table,
    base="OPTModel",
    with_head="OPTForCausalLM",
    words="decoder.embed_tokens",
    prefix="model.",
)
OPT, OPT_ENCODER = _OPT.lm, _OPT.encoder


def _xglm_table(config: Any) -> Table:
    return [
        *embedding("embed_tokens", "words"),
        *layers(_block(config.attention_heads, True), "layers", config.num_layers),
        *norm("layer_norm", "norm"),
    ]


def _xglm_options(config: Any) -> dict[str, Any]:
    only(config, add_cross_attention=False)
    return {
        "vocab_size": config.vocab_size,
        "max_length": config.max_position_embeddings,
        "positions": "sinusoidal",
        "position_offset": 2,
        "words_scale": math.sqrt(config.d_model) if config.scale_embedding else 1.0,
        "width": config.d_model,
        "depth": config.num_layers,
        "heads": config.attention_heads,
        "mlp_dim": config.ffn_dim,
        "activation": activation(config.activation_function, "activation_function"),
        "eps": 1e-5,
        "dropout": float(config.dropout),
        "embeddings_dropout": float(config.dropout),
        "attention_dropout": float(config.attention_dropout),
        "mlp_dropout": float(config.activation_dropout),
        "layer_drop": float(config.layerdrop),
    }


_XGLM = Causal(
    model_type="xglm",
    options=_xglm_options,
    table=_xglm_table,
    base="XGLMModel",
    with_head="XGLMForCausalLM",
    words="embed_tokens",
    prefix="model.",
    ignored=(r".*embed_positions\.weights",),
)
XGLM, XGLM_ENCODER = _XGLM.lm, _XGLM.encoder

"""GPT-2, and GPT-SW3, which is one."""

from __future__ import annotations

from typing import Any

from mmjax.pretrained.families.causal import Causal, layers
from mmjax.pretrained.family import activation, only
from mmjax.pretrained.rules import Table, dense, embedding, heads_in, heads_out, norm, parts


def table(config: Any) -> Table:
    heads, width = config.n_head, config.n_embd

    def block(theirs: str, ours: str) -> Table:
        fused = f"{theirs}.attn.c_attn"
        inputs = [
            heads_in(fused, f"{ours}/attention/{role}", heads, transposed=False)
            for role in ("query", "key", "value")
        ]
        return [
            *norm(f"{theirs}.ln_1", f"{ours}/attention_norm"),
            *parts(inputs, (width,) * 3, axis=1),
            *heads_out(f"{theirs}.attn.c_proj", f"{ours}/attention/out", heads, transposed=False),
            *(_cross(theirs, ours, config) if config.add_cross_attention else []),
            *norm(f"{theirs}.ln_2", f"{ours}/mlp_norm"),
            *dense(f"{theirs}.mlp.c_fc", f"{ours}/mlp/up", transposed=False),
            *dense(f"{theirs}.mlp.c_proj", f"{ours}/mlp/down", transposed=False),
        ]

    return [
        *embedding("wte", "words"),
        *embedding("wpe", "positions"),
        *layers(block, "h", config.n_layer),
        *norm("ln_f", "norm"),
    ]


def _cross(theirs: str, ours: str, config: Any) -> Table:
    own, heads = f"{theirs}.crossattention", config.n_head
    context = [
        heads_in(f"{own}.c_attn", f"{ours}/cross_attention/{role}", heads, transposed=False)
        for role in ("key", "value")
    ]
    return [
        *norm(f"{theirs}.ln_cross_attn", f"{ours}/cross_attention_norm"),
        *heads_in(f"{own}.q_attn", f"{ours}/cross_attention/query", heads, transposed=False),
        *parts(context, (config.n_embd,) * 2, axis=1),
        *heads_out(f"{own}.c_proj", f"{ours}/cross_attention/out", heads, transposed=False),
    ]


def behind_an_encoder(config: Any) -> dict[str, Any]:
    """Options of one that looks at an encoder's tokens."""
    only(
        config,
        add_cross_attention=True,
        cross_attention_hidden_size=None,
        scale_attn_by_inverse_layer_idx=False,
        scale_attn_weights=True,
    )
    return {**_options(config), "cross_attention": True}


def options(config: Any) -> dict[str, Any]:
    """Options of one that stands alone."""
    only(config, add_cross_attention=False)
    return _options(config)


def _options(config: Any) -> dict[str, Any]:
    """`reorder_and_upcast_attn` changes nothing here: logits and softmax are float32 always."""
    return {
        "vocab_size": config.vocab_size,
        "max_length": config.n_positions,
        "width": config.n_embd,
        "depth": config.n_layer,
        "heads": config.n_head,
        "mlp_dim": config.n_inner or 4 * config.n_embd,
        "activation": activation(config.activation_function, "activation_function"),
        "attention_scale": None if config.scale_attn_weights else 1.0,
        "factor_by_layer": config.scale_attn_by_inverse_layer_idx,
        "word_segments": True,
        "eps": float(config.layer_norm_epsilon),
        "dropout": float(config.resid_pdrop),
        "embeddings_dropout": float(config.embd_pdrop),
        "attention_dropout": float(config.attn_pdrop),
    }


GPT2 = Causal(
    model_type="gpt2",
    options=options,
    table=table,
    base="GPT2Model",
    with_head="GPT2LMHeadModel",
    words="wte",
    ignored=(r".*\.attn\.(masked_)?bias",),
)
GPT2_LM, GPT2_ENCODER = GPT2.lm, GPT2.encoder

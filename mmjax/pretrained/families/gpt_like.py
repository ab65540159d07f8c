"""GPT-Neo, GPT-J, GPT-NeoX (Pythia) and BLOOM."""

from __future__ import annotations

from typing import Any

import einops

from mmjax.core.errors import WeightsError
from mmjax.pretrained.families.causal import Causal, layers
from mmjax.pretrained.family import activation, only
from mmjax.pretrained.rules import (
    Table,
    attention,
    dense,
    embedding,
    heads_out,
    norm,
    param,
)


def fused(theirs: str, ours: str, heads: int, *, bias: bool = True) -> Table:
    """Queries, keys and values of each head together: [k*3*h d] to a kernel [d k 3 h]."""
    weight = param(
        f"{theirs}.weight",
        f"{ours}/kernel",
        lambda w: einops.rearrange(w, "(k three h) d -> d k three h", k=heads, three=3),
        lambda w: einops.rearrange(w, "d k three h -> (k three h) d"),
    )
    if not bias:
        return weight
    return weight + param(
        f"{theirs}.bias",
        f"{ours}/bias",
        lambda b: einops.rearrange(b, "(k three h) -> k three h", k=heads, three=3),
        lambda b: einops.rearrange(b, "k three h -> (k three h)"),
    )


def _neo_table(config: Any) -> Table:
    def block(theirs: str, ours: str) -> Table:
        return [
            *norm(f"{theirs}.ln_1", f"{ours}/attention_norm"),
            *attention(
                f"{theirs}.attn.attention",
                f"{ours}/attention",
                config.num_heads,
                names=("q_proj", "k_proj", "v_proj", "out_proj"),
                bias=("out",),
            ),
            *norm(f"{theirs}.ln_2", f"{ours}/mlp_norm"),
            *dense(f"{theirs}.mlp.c_fc", f"{ours}/mlp/up"),
            *dense(f"{theirs}.mlp.c_proj", f"{ours}/mlp/down"),
        ]

    return [
        *embedding("wte", "words"),
        *embedding("wpe", "positions"),
        *layers(block, "h", config.num_layers),
        *norm("ln_f", "norm"),
    ]


def _neo_options(config: Any) -> dict[str, Any]:
    """Its logits are not scaled; every other layer may look back over a window alone."""
    ends = [0 if kind == "global" else config.window_size for kind in config.attention_layers]
    return {
        "vocab_size": config.vocab_size,
        "max_length": config.max_position_embeddings,
        "width": config.hidden_size,
        "depth": config.num_layers,
        "heads": config.num_heads,
        "mlp_dim": config.intermediate_size or 4 * config.hidden_size,
        "activation": activation(config.activation_function, "activation_function"),
        "use_bias": ("out",),
        "attention_scale": 1.0,
        "windows": tuple(ends) if any(ends) else (),
        "word_segments": True,
        "eps": float(config.layer_norm_epsilon),
        "dropout": float(config.resid_dropout),
        "embeddings_dropout": float(config.embed_dropout),
        "attention_dropout": float(config.attention_dropout),
    }


_GPT_NEO = Causal(
    model_type="gpt_neo",
    options=_neo_options,
    table=_neo_table,
    base="GPTNeoModel",
    with_head="GPTNeoForCausalLM",
    words="wte",
    ignored=(r".*\.attn\.attention\.(masked_)?bias",),
)
GPT_NEO, GPT_NEO_ENCODER = _GPT_NEO.lm, _GPT_NEO.encoder


def _j_table(config: Any) -> Table:
    def block(theirs: str, ours: str) -> Table:
        return [
            *norm(f"{theirs}.ln_1", f"{ours}/attention_norm"),
            *attention(
                f"{theirs}.attn",
                f"{ours}/attention",
                config.n_head,
                names=("q_proj", "k_proj", "v_proj", "out_proj"),
                bias=False,
            ),
            *dense(f"{theirs}.mlp.fc_in", f"{ours}/mlp/up"),
            *dense(f"{theirs}.mlp.fc_out", f"{ours}/mlp/down"),
        ]

    return [
        *embedding("wte", "words"),
        *layers(block, "h", config.n_layer),
        *norm("ln_f", "norm"),
    ]


def _j_options(config: Any) -> dict[str, Any]:
    if config.rotary_dim is None:
        raise WeightsError(652, "rotary_dim = None is not supported", where="config.json")
    only(config, tie_word_embeddings=False)
    return {
        "vocab_size": config.vocab_size,
        "max_length": config.n_positions,
        "width": config.n_embd,
        "depth": config.n_layer,
        "heads": config.n_head,
        "mlp_dim": config.n_inner or 4 * config.n_embd,
        "activation": activation(config.activation_function, "activation_function"),
        "use_bias": False,
        "parallel": "one_norm",
        "positions": "rotary",
        "rotary_dim": config.rotary_dim,
        "rotary_interleaved": True,
        "word_segments": True,
        "eps": float(config.layer_norm_epsilon),
        "dropout": float(config.resid_pdrop),
        "embeddings_dropout": float(config.embd_pdrop),
        "attention_dropout": float(config.attn_pdrop),
    }


_GPTJ = Causal(
    model_type="gptj",
    options=_j_options,
    table=_j_table,
    base="GPTJModel",
    with_head="GPTJForCausalLM",
    words="wte",
    head_bias=True,
    ignored=(r".*\.attn\.((masked_)?bias|embed_positions)",),
)
GPTJ, GPTJ_ENCODER = _GPTJ.lm, _GPTJ.encoder


def _neox_table(config: Any) -> Table:
    heads, bias = config.num_attention_heads, config.attention_bias

    def block(theirs: str, ours: str) -> Table:
        own = f"{theirs}.attention"
        return [
            *norm(f"{theirs}.input_layernorm", f"{ours}/attention_norm"),
            *fused(f"{own}.query_key_value", f"{ours}/attention/qkv", heads, bias=bias),
            *heads_out(f"{own}.dense", f"{ours}/attention/out", heads, bias=bias),
            *norm(f"{theirs}.post_attention_layernorm", f"{ours}/mlp_norm"),
            *dense(f"{theirs}.mlp.dense_h_to_4h", f"{ours}/mlp/up"),
            *dense(f"{theirs}.mlp.dense_4h_to_h", f"{ours}/mlp/down"),
        ]

    return [
        *embedding("embed_in", "words"),
        *layers(block, "layers", config.num_hidden_layers),
        *norm("final_layer_norm", "norm"),
    ]


def _neox_options(config: Any) -> dict[str, Any]:
    only(config, rope_scaling=None)
    head_dim = config.hidden_size // config.num_attention_heads
    return {
        "vocab_size": config.vocab_size,
        "max_length": config.max_position_embeddings,
        "width": config.hidden_size,
        "depth": config.num_hidden_layers,
        "heads": config.num_attention_heads,
        "mlp_dim": config.intermediate_size,
        "activation": activation(config.hidden_act),
        "use_bias": config.attention_bias,
        "fused": True,
        "parallel": "two_norms" if config.use_parallel_residual else "no",
        "positions": "rotary",
        "rotary_dim": int(head_dim * config.rotary_pct),
        "rotary_base": float(config.rotary_emb_base),
        "eps": float(config.layer_norm_eps),
        "dropout": float(config.hidden_dropout),
        "embeddings_dropout": float(config.hidden_dropout),
        "attention_dropout": float(config.attention_dropout),
    }


_GPT_NEOX = Causal(
    model_type="gpt_neox",
    options=_neox_options,
    table=_neox_table,
    base="GPTNeoXModel",
    with_head="GPTNeoXForCausalLM",
    words="embed_in",
    prefix="gpt_neox.",
    head="embed_out",
    ignored=(r".*\.attention\.((masked_)?bias|rotary_emb\.inv_freq)",),
)
GPT_NEOX, GPT_NEOX_ENCODER = _GPT_NEOX.lm, _GPT_NEOX.encoder


def _bloom_table(config: Any) -> Table:
    def block(theirs: str, ours: str) -> Table:
        own = f"{theirs}.self_attention"
        return [
            *norm(f"{theirs}.input_layernorm", f"{ours}/attention_norm"),
            *fused(f"{own}.query_key_value", f"{ours}/attention/qkv", config.n_head),
            *heads_out(f"{own}.dense", f"{ours}/attention/out", config.n_head),
            *norm(f"{theirs}.post_attention_layernorm", f"{ours}/mlp_norm"),
            *dense(f"{theirs}.mlp.dense_h_to_4h", f"{ours}/mlp/up"),
            *dense(f"{theirs}.mlp.dense_4h_to_h", f"{ours}/mlp/down"),
        ]

    return [
        *embedding("word_embeddings", "words"),
        *norm("word_embeddings_layernorm", "embeddings_norm"),
        *layers(block, "h", config.n_layer),
        *norm("ln_f", "norm"),
    ]


def _bloom_options(config: Any) -> dict[str, Any]:
    """`slow_but_exact` is about the order of sums alone."""
    only(config, apply_residual_connection_post_layernorm=False)
    return {
        "vocab_size": config.vocab_size,
        "max_length": getattr(config, "seq_length", 2048),
        "width": config.hidden_size,
        "depth": config.n_layer,
        "heads": config.n_head,
        "mlp_dim": 4 * config.hidden_size,
        "fused": True,
        "positions": "alibi",
        "embeddings_norm": True,
        "eps": float(config.layer_norm_epsilon),
        "dropout": float(config.hidden_dropout),
        "attention_dropout": float(config.attention_dropout),
    }


_BLOOM = Causal(
    model_type="bloom",
    options=_bloom_options,
    table=_bloom_table,
    base="BloomModel",
    with_head="BloomForCausalLM",
    words="word_embeddings",
)
BLOOM, BLOOM_ENCODER = _BLOOM.lm, _BLOOM.encoder

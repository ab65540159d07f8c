"""Llama, Mistral, Gemma, Qwen2 and Qwen3."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from mmjax.core.errors import WeightsError
from mmjax.pretrained.families.causal import Causal, layers
from mmjax.pretrained.family import Family, activation, only
from mmjax.pretrained.rules import Table, dense, embedding, heads_in, heads_out, norm

_SCALING = {
    "linear": ("factor",),
    "llama3": (
        "factor",
        "low_freq_factor",
        "high_freq_factor",
        "original_max_position_embeddings",
    ),
}


def table(
    config: Any, bias: tuple[str, ...] = (), mlp_bias: bool = False, norms: bool = False
) -> Table:
    """`bias` names those of query, key, value and out that have one; `norms` of query and key."""
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads

    def block(theirs: str, ours: str) -> Table:
        own = f"{theirs}.self_attn"
        found = []
        for role, count in (("query", heads), ("key", kv_heads), ("value", kv_heads)):
            name = f"{own}.{role[0]}_proj"
            found += heads_in(name, f"{ours}/attention/{role}", count, bias=role in bias)
        for role in ("query", "key") if norms else ():
            ours_of_role = f"{ours}/attention/{role}_norm"
            found += norm(f"{own}.{role[0]}_norm", ours_of_role, bias=False)
        return [
            *norm(f"{theirs}.input_layernorm", f"{ours}/attention_norm", bias=False),
            *found,
            *heads_out(f"{own}.o_proj", f"{ours}/attention/out", heads, bias="out" in bias),
            *norm(f"{theirs}.post_attention_layernorm", f"{ours}/mlp_norm", bias=False),
            *dense(f"{theirs}.mlp.gate_proj", f"{ours}/mlp/gate", bias=mlp_bias),
            *dense(f"{theirs}.mlp.up_proj", f"{ours}/mlp/up", bias=mlp_bias),
            *dense(f"{theirs}.mlp.down_proj", f"{ours}/mlp/down", bias=mlp_bias),
        ]

    return [
        *embedding("embed_tokens", "words"),
        *layers(block, "layers", config.num_hidden_layers),
        *norm("norm", "norm", bias=False),
    ]


def options(config: Any, bias: tuple[str, ...] = (), **further: Any) -> dict[str, Any]:
    return {
        "vocab_size": config.vocab_size,
        "max_length": config.max_position_embeddings,
        "width": config.hidden_size,
        "depth": config.num_hidden_layers,
        "heads": config.num_attention_heads,
        "kv_heads": config.num_key_value_heads,
        "head_dim": getattr(config, "head_dim", None),
        "mlp_dim": config.intermediate_size,
        "norm_kind": "rms",
        "gated": True,
        "activation": activation(config.hidden_act),
        "use_bias": bias or False,
        "mlp_bias": False,
        "positions": "rotary",
        "rotary_base": float(config.rope_theta),
        "rotary_scaling": _scaling(config),
        "eps": float(config.rms_norm_eps),
        "dropout": 0.0,
        "attention_dropout": float(config.attention_dropout),
        **further,
    }


def _scaling(config: Any) -> dict[str, float] | None:
    found = getattr(config, "rope_scaling", None) or {}
    kind = found.get("rope_type", found.get("type", "default"))
    if kind == "default":
        return None
    if kind not in _SCALING:
        raise WeightsError(
            652,
            f"rope_scaling of the type '{kind}' is not supported",
            where="config.json",
            fix=f"supported: default, {', '.join(_SCALING)}",
        )
    return {name: float(found[name]) for name in _SCALING[kind]}


_ALL = ("query", "key", "value", "out")


def _biases(config: Any) -> tuple[str, ...]:
    return _ALL if config.attention_bias else ()


def _family(
    model_type: str,
    cls: str,
    options: Callable[[Any], dict[str, Any]],
    table: Callable[[Any], Table],
) -> tuple[Family, Family]:
    causal = Causal(
        model_type=model_type,
        options=options,
        table=table,
        base=f"{cls}Model",
        with_head=f"{cls}ForCausalLM",
        words="embed_tokens",
        prefix="model.",
        ignored=(r".*rotary_emb\.inv_freq",),
    )
    return causal.lm, causal.encoder


def _mistral_options(config: Any) -> dict[str, Any]:
    return options(config, windows=(config.sliding_window,) if config.sliding_window else ())


def _gemma_options(config: Any) -> dict[str, Any]:
    return options(
        config,
        _biases(config),
        norm_kind="rms_unit_offset",
        words_scale=math.sqrt(config.hidden_size),
    )


def _windows(config: Any) -> tuple[int, ...]:
    ends = [
        config.sliding_window if kind == "sliding_attention" else 0 for kind in config.layer_types
    ]
    return tuple(ends) if any(ends) else ()


def _qwen2_options(config: Any) -> dict[str, Any]:
    return options(config, _ALL[:3], windows=_windows(config))


def _qwen3_options(config: Any) -> dict[str, Any]:
    return options(config, _biases(config), windows=_windows(config), query_key_norm=True)


def _llama_options(config: Any) -> dict[str, Any]:
    only(config, pretraining_tp=1)
    return options(config, _biases(config), mlp_bias=config.mlp_bias)


LLAMA, LLAMA_ENCODER = _family(
    "llama", "Llama", _llama_options, lambda config: table(config, _biases(config), config.mlp_bias)
)
MISTRAL, MISTRAL_ENCODER = _family("mistral", "Mistral", _mistral_options, table)
GEMMA, GEMMA_ENCODER = _family(
    "gemma", "Gemma", _gemma_options, lambda config: table(config, _biases(config))
)
QWEN2, QWEN2_ENCODER = _family(
    "qwen2", "Qwen2", _qwen2_options, lambda config: table(config, _ALL[:3])
)
QWEN3, QWEN3_ENCODER = _family(
    "qwen3", "Qwen3", _qwen3_options, lambda config: table(config, _biases(config), norms=True)
)

"""Decoder-only language models, padded at the left and at the right."""

from __future__ import annotations

import numpy as np
from cases_bert import IDS, MASK
from make_goldens import Case

# Rows: whole, padded at the right, padded at the left.
SIDES = np.stack([MASK[0], MASK[1], MASK[1][::-1]])
TEXT = {"input_ids": IDS, "attention_mask": SIDES}
OUTPUTS = {"logits": "logits", "values": lambda output: output.hidden_states[-1]}
HIDDEN = {"output_hidden_states": True, "use_cache": False}


def counted(config) -> dict[str, np.ndarray]:
    """Positions as generation gives them: from the first valid token on."""
    return {**TEXT, "position_ids": np.maximum(SIDES.cumsum(1) - 1, 0)}


def lm(cls: str, config: dict, inputs=lambda config: TEXT, **further) -> Case:
    return Case(cls, config, inputs, OUTPUTS, call=HIDDEN, **further)


GPT2 = {
    "vocab_size": 50,
    "n_positions": 16,
    "n_embd": 24,
    "n_layer": 2,
    "n_head": 3,
    "bos_token_id": 1,
    "eos_token_id": 1,
}

NEO = {
    "vocab_size": 50,
    "hidden_size": 24,
    "num_layers": 2,
    "num_heads": 3,
    "intermediate_size": 40,
    "max_position_embeddings": 16,
}

OPT = {
    "vocab_size": 50,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "ffn_dim": 40,
    "max_position_embeddings": 16,
    "word_embed_proj_dim": 24,
}

LLAMA = {
    "vocab_size": 50,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 40,
    "max_position_embeddings": 16,
}

CASES = {
    "gpt2": lm(
        "GPT2LMHeadModel",
        GPT2,
        lambda config: {"input_ids": IDS, "attention_mask": MASK},
        gradients=("transformer.h.0.attn.c_proj.weight", "transformer.wte.weight"),
    ),
    "gpt2_options": lm(
        "GPT2LMHeadModel",
        {
            **GPT2,
            "n_inner": 40,
            "activation_function": "relu",
            "layer_norm_epsilon": 1e-3,
            "scale_attn_by_inverse_layer_idx": True,
            "scale_attn_weights": False,
            "reorder_and_upcast_attn": True,
            "tie_word_embeddings": False,
        },
        lambda config: {**counted(config), "token_type_ids": IDS[::-1].copy()},
    ),
    "gpt_neo": lm(
        "GPTNeoForCausalLM",
        {
            **NEO,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 3,
            "layer_norm_epsilon": 1e-3,
        },
    ),
    "gptj": lm("GPTJForCausalLM", {**GPT2, "rotary_dim": 4}, counted),
    "gpt_neox": lm(
        "GPTNeoXForCausalLM",
        {**LLAMA, "num_attention_heads": 3, "rotary_pct": 0.5, "hidden_act": "gelu"},
    ),
    "gpt_neox_serial": lm(
        "GPTNeoXForCausalLM",
        {
            **LLAMA,
            "use_parallel_residual": False,
            "attention_bias": False,
            "rotary_emb_base": 100,
            "rotary_pct": 1.0,
            "hidden_act": "relu",
            "layer_norm_eps": 1e-3,
        },
        counted,
    ),
    "bloom": lm(
        "BloomForCausalLM",
        {"vocab_size": 50, "hidden_size": 24, "n_layer": 2, "n_head": 6},
    ),
    "opt": lm("OPTForCausalLM", OPT),
    "opt_350m": lm(
        "OPTForCausalLM",
        {
            **OPT,
            "do_layer_norm_before": False,
            "word_embed_proj_dim": 16,
            "enable_bias": False,
            "activation_function": "gelu",
        },
        counted,
    ),
    "xglm": lm(
        "XGLMForCausalLM",
        {
            "vocab_size": 50,
            "d_model": 24,
            "num_layers": 2,
            "attention_heads": 3,
            "ffn_dim": 40,
            "max_position_embeddings": 16,
        },
        counted,
    ),
    "llama": lm(
        "LlamaForCausalLM",
        LLAMA,
        lambda config: {"input_ids": IDS, "attention_mask": MASK},
        gradients=(
            "model.layers.0.self_attn.k_proj.weight",
            "model.layers.1.post_attention_layernorm.weight",
        ),
    ),
    "llama_scaled": lm(
        "LlamaForCausalLM",
        {
            **LLAMA,
            "attention_bias": True,
            "mlp_bias": True,
            "head_dim": 10,
            "tie_word_embeddings": True,
            "rms_norm_eps": 1e-3,
            "rope_theta": 50.0,
            "max_position_embeddings": 128,
            "rope_scaling": {
                "rope_type": "llama3",
                "factor": 4.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64,
            },
        },
        counted,
    ),
    "mistral": lm("MistralForCausalLM", {**LLAMA, "sliding_window": 3}),
    "gemma": lm("GemmaForCausalLM", {**LLAMA, "head_dim": 8, "num_key_value_heads": 1}),
    "qwen2": lm(
        "Qwen2ForCausalLM",
        {
            **LLAMA,
            "use_sliding_window": True,
            "sliding_window": 2,
            "max_window_layers": 1,
            "rope_scaling": {"rope_type": "linear", "factor": 2.0},
        },
    ),
    "qwen3": lm(
        "Qwen3ForCausalLM",
        {**LLAMA, "head_dim": 8, "rms_norm_eps": 1e-3, "tie_word_embeddings": True},
        counted,
    ),
}

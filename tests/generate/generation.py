"""Tiny models of each family, what they are prompted with, and in which ways they generate.

NumPy alone: `make_generation.py` runs transformers' torch classes on the same.
"""

from __future__ import annotations

import dataclasses
import json
import zlib
from pathlib import Path
from typing import Any

import goldens
import numpy as np

FILE = Path(__file__).resolve().parents[1] / "golden" / "generate" / "generation.json"
VOCABULARY = 48


@dataclasses.dataclass(frozen=True)
class Family:
    cls: str
    """The torch class."""
    config: dict[str, Any]
    common: dict[str, Any]
    """Settings of every case."""
    main: str = "input_ids"
    causal: bool = False


_BART = {
    "vocab_size": VOCABULARY,
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "max_position_embeddings": 64,
    "pad_token_id": 1,
    "decoder_start_token_id": 2,
}
_T5 = {
    "vocab_size": VOCABULARY,
    "d_model": 16,
    "d_kv": 6,
    "d_ff": 24,
    "num_layers": 2,
    "num_heads": 2,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 10,
    "decoder_start_token_id": 0,
}
_GPT2 = {
    "vocab_size": VOCABULARY,
    "n_positions": 64,
    "n_embd": 24,
    "n_layer": 2,
    "n_head": 3,
    "bos_token_id": 2,
    "eos_token_id": 2,
}
_LLAMA = {
    "vocab_size": VOCABULARY,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 40,
    "max_position_embeddings": 64,
}
_WHISPER = {
    "vocab_size": VOCABULARY,
    "num_mel_bins": 8,
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "max_source_positions": 10,
    "max_target_positions": 64,
    "pad_token_id": 1,
    "bos_token_id": 2,
    "eos_token_id": 3,
    "decoder_start_token_id": 2,
    "begin_suppress_tokens": None,
}
# Three ids end a row, so that random models come to an end.
_ENDS: dict[str, Any] = {"eos_token_id": (3, 7, 11), "pad_token_id": 1, "max_new_tokens": 14}
_SEQ2SEQ = {**_ENDS, "decoder_start_token_id": 2}
FAMILIES = {
    "bart": Family("BartForConditionalGeneration", _BART, _SEQ2SEQ),
    "mbart": Family("MBartForConditionalGeneration", {**_BART, "scale_embedding": True}, _SEQ2SEQ),
    "marian": Family("MarianMTModel", _BART, _SEQ2SEQ),
    "t5": Family("T5ForConditionalGeneration", _T5, {**_SEQ2SEQ, "decoder_start_token_id": 0}),
    "mt5": Family(
        "MT5ForConditionalGeneration",
        {**_T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
        {**_SEQ2SEQ, "decoder_start_token_id": 0},
    ),
    "umt5": Family("UMT5ForConditionalGeneration", _T5, {**_SEQ2SEQ, "decoder_start_token_id": 0}),
    "gpt2": Family("GPT2LMHeadModel", _GPT2, _ENDS, causal=True),
    "llama": Family("LlamaForCausalLM", _LLAMA, _ENDS, causal=True),
    "bloom": Family(
        "BloomForCausalLM",
        {"vocab_size": VOCABULARY, "hidden_size": 24, "n_layer": 2, "n_head": 6},
        _ENDS,
        causal=True,
    ),
    "opt": Family(
        "OPTForCausalLM",
        {
            "vocab_size": VOCABULARY,
            "hidden_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 3,
            "ffn_dim": 40,
            "max_position_embeddings": 64,
            "word_embed_proj_dim": 24,
        },
        _ENDS,
        causal=True,
    ),
    "whisper": Family("WhisperForConditionalGeneration", _WHISPER, _SEQ2SEQ, main="input_features"),
}

GREEDY: dict[str, dict[str, Any]] = {
    "greedy": {},
    "greedy_penalties": {
        "repetition_penalty": 1.4,
        "no_repeat_ngram_size": 2,
        "bad_words_ids": ((20,), (5, 6), (7,)),
        "suppress_tokens": (9, 30, 31),
        "begin_suppress_tokens": (12, 33),
        "min_new_tokens": 6,
        "forced_eos_token_id": 3,
    },
}
BEAMS: dict[str, dict[str, Any]] = {
    "beams": {"num_beams": 4, "num_return_sequences": 3},
    "beams_early": {"num_beams": 3, "early_stopping": True, "length_penalty": 2.0},
    "beams_never": {
        "num_beams": 3,
        "early_stopping": "never",
        "length_penalty": 0.6,
        "no_repeat_ngram_size": 3,
        "min_new_tokens": 4,
    },
    "beams_negative": {"num_beams": 2, "length_penalty": -0.5, "max_new_tokens": 5},
    "beams_penalties": {
        **GREEDY["greedy_penalties"],
        "num_beams": 4,
        "num_return_sequences": 4,
        "no_repeat_ngram_size": 1,
    },
}


def settings_of(family: Family) -> dict[str, dict[str, Any]]:
    found = {**GREEDY, **BEAMS}
    if not family.causal:
        found["greedy_forced_start"] = {"forced_bos_token_id": 4, "begin_suppress_tokens": (5, 8)}
        found["beams_forced_start"] = {"forced_bos_token_id": 4, "num_beams": 2}
    return found


def inputs(family: Family) -> dict[str, np.ndarray]:
    """Three rows, of different lengths."""
    state = np.random.RandomState(5)
    if family.main == "input_features":
        prompts = np.array([[2, 5], [2, 6], [2, 5]])
        return {
            "input_features": state.standard_normal((3, 8, 20)).astype(np.float32),
            "decoder_input_ids": prompts,
        }
    mask = np.arange(6) < np.array([6, 3, 4])[:, None]
    if family.causal:
        mask = mask[:, ::-1]
    ids = np.where(mask, state.randint(12, VOCABULARY, mask.shape), 1)
    return {"input_ids": ids, "attention_mask": mask.astype(np.int64)}


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """As `goldens.weight`, but words weigh less than places and layers, so that outputs vary."""
    values = goldens.weight(name, shape)
    if len(shape) != 2:
        return values
    if name.endswith("final_logits_bias"):
        return values * 0
    if not any(part in name for part in ("embed", "wte", "wpe", "shared", "relative")):
        return values * 1.8
    again = np.random.RandomState(zlib.crc32(f"{name} again".encode()))
    values = again.standard_normal(size=shape).astype(np.float32)
    if name == "shared.weight" or "position" in name or "wpe" in name or "relative" in name:
        return values
    return values * np.float32(0.3)


def write_folder(config: dict[str, Any], shapes: dict[str, list[int]], folder: Path) -> Path:
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    weights = {name: weight(name, tuple(shape)) for name, shape in shapes.items()}
    save_file(weights, str(folder / "model.safetensors"), metadata={"format": "pt"})
    return folder


def cut(tokens: list[int], settings: dict[str, Any]) -> list[int]:
    """Up to the first end, it included: what stands behind is padding of one kind or another."""
    for index, token in enumerate(tokens):
        if token in settings["eos_token_id"]:
            return tokens[: index + 1]
    return tokens

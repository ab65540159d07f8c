"""A tiny Whisper of two languages, a sound of five windows, and in which ways it is heard.

NumPy alone: `make_speech.py` runs transformers' torch class on the same.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import generation
import numpy as np

FILE = generation.FILE.with_name("speech.json")
RATE = 16_000
SMALL = {"encoder_layers": 1, "decoder_layers": 1}
SAYS: dict[str, Any] = {
    "decoder_start_token_id": 2,
    "bos_token_id": 2,
    "eos_token_id": 3,
    "pad_token_id": 3,
    "lang_to_id": {"<|en|>": 5, "<|de|>": 6},
    "task_to_id": {"transcribe": 8, "translate": 9},
    "prev_sot_token_id": 10,
    "no_timestamps_token_id": 20,
    "max_initial_timestamp_index": 4,
    "suppress_tokens": [11, 13],
    "begin_suppress_tokens": [14],
    "max_length": 40,
    "is_multilingual": True,
}
HEARS: dict[str, Any] = {
    "feature_extractor_type": "WhisperFeatureExtractor",
    "feature_size": 8,
    "sampling_rate": RATE,
    "hop_length": 800,
    "n_fft": 1600,
    "chunk_length": 1,
    "n_samples": RATE,
    "nb_max_frames": 20,
    "padding_value": 0.0,
}
SPECIAL = {2: "<s>", 3: "</s>", 5: "<|en|>", 6: "<|de|>", 8: "<t>", 9: "<l>", 10: "<p>"}
SPECIAL[20] = "<q>"
CASES: dict[str, dict[str, Any]] = {
    "heard": {"task": "transcribe"},
    "named": {"language": "german", "task": "translate"},
    "told": {"language": "en", "condition_on_prev_tokens": True},
    "doubted": {
        "language": "en",
        "logprob_threshold": -1.3,
        "no_speech_threshold": 0.0068,
        "compression_ratio_threshold": 0.9,
    },
}


def sound() -> np.ndarray:
    """Noise that is louder and softer, of 4.63 seconds."""
    state = np.random.RandomState(11)
    count = int(4.63 * RATE)
    loud = np.interp(np.arange(count), np.linspace(0, count, 9), state.rand(9))
    noise = np.cumsum(state.standard_normal(size=count)) % 3 - 1.5
    return (0.3 * loud * noise).astype(np.float32)


def write_folder(config: dict[str, Any], shapes: dict[str, list[int]], folder: Path) -> Path:
    generation.write_folder(config, shapes, folder)
    for name, content in (("generation_config", SAYS), ("preprocessor_config", HEARS)):
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def write_tokenizer(folder: Path) -> None:
    """Each id up to 20 is a word, some of them special ones; what begins a text is English."""
    words = {SPECIAL.get(i, f"w{i}"): i for i in range(21)}
    first = ["<s>", "<|en|>", "<t>", "<q>"]
    around = [{"SpecialToken": {"id": one, "type_id": 0}} for one in [*first, "</s>"]]
    template = {
        "type": "TemplateProcessing",
        "single": [*around[:-1], {"Sequence": {"id": "A", "type_id": 0}}, around[-1]],
        "pair": [],
        "special_tokens": {
            one: {"id": one, "ids": [number], "tokens": [one]} for number, one in SPECIAL.items()
        },
    }
    added = [
        {"id": i, "content": one, "special": True, "normalized": False}
        | dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
        for i, one in SPECIAL.items()
    ]
    made = {
        "version": "1.0",
        "added_tokens": added,
        "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "vocab": words, "unk_token": "w0"},
    }
    empty = dict.fromkeys(("truncation", "padding", "normalizer", "decoder"))
    whole = {**made, **empty, "post_processor": template}
    (folder / "tokenizer.json").write_text(json.dumps(whole))
    named = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "</s>"}
    named |= {"bos_token": "<s>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(named))

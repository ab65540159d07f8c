"""Whisper in CTranslate2's form, as faster-whisper and its kin ship it, to a Hugging Face folder.

A file `model.bin` of version 6 is, in little endian: the version (uint32), the name of the model's
specification (a string: uint16 length, bytes, a NUL among them), its revision (uint32), and the
number of variables (uint32). Each variable is its name (string), its rank (uint8), its dimensions
(uint32), its type (uint8: an index of `_TYPES`), the number of its bytes (uint32), and these. Then
come aliases: their number (uint32), and pairs of names. Queries, keys and values of
self-attention are one matrix (`linear_0`), keys and values of cross-attention one (`linear_1`).
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from mmjax.core.errors import WeightsError
from mmjax.core.files import atomic_path, write_json
from mmjax.pretrained.folder import read_config

FILE = "model.bin"
_SPECIFICATION = "WhisperSpec"
_VERSION = 6
_TYPES = (np.float32, np.int8, np.int16, np.int32, np.float16, jnp.bfloat16)
_FLOATS = ("float32", "float16", "bfloat16")
_GELU = 3
"""CTranslate2's number of the exact one."""
_WORDS_OF_MANY = 51865
"""Words that the smallest model of many languages has; one of English alone has fewer."""
_SECONDS = 30
_RATE, _WINDOW, _HOP = 16_000, 400, 160

Arrays = Mapping[str, np.ndarray]


def to_huggingface(source: str | os.PathLike, out: str | os.PathLike) -> Path:
    """Writes the folder `out` that `mmjax.load_pretrained` reads, and transformers too.

    `source` is a folder with `model.bin`, `config.json` and `tokenizer.json` of a Whisper model in
    float32, float16 or bfloat16; weights keep their type. Raises WeightsError for another model,
    another version, quantised weights, and what is damaged or missing.
    """
    source, out = Path(source), Path(out)
    extra = read_config(source)
    tokenizer = source / "tokenizer.json"
    if not tokenizer.is_file():
        raise WeightsError(651, "there is no tokenizer.json", where=str(source), fix="download it")
    arrays = read_model(source / FILE)
    tokens = _special_tokens(tokenizer)
    model = _config(arrays, tokens, extra, source)
    weights = dict(_weights(arrays, model, source))
    out.mkdir(parents=True, exist_ok=True)
    with atomic_path(out / "model.safetensors") as path:
        _save(weights, path)
    write_json(out / "generation_config.json", _generation(model, tokens, extra))
    write_json(out / "preprocessor_config.json", _preprocessor(model))
    shutil.copyfile(tokenizer, out / tokenizer.name)
    end = {"eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    write_json(out / "tokenizer_config.json", {"tokenizer_class": "WhisperTokenizer", **end})
    write_json(out / "config.json", model)
    return out


def read_model(path: Path) -> dict[str, np.ndarray]:
    """The variables of a `model.bin`: read-only views of the mapped file.

    Raises WeightsError for another specification or version, and for a file that is damaged.
    """
    if not path.is_file():
        raise WeightsError(650, f"there is no {FILE}", where=str(path.parent))
    data = np.memmap(path, np.uint8, mode="r")
    try:
        return _Reader(data, str(path)).variables()
    except (struct.error, ValueError, UnicodeDecodeError, IndexError) as error:
        raise WeightsError(
            654, f"{FILE} is damaged: {error}", where=str(path), fix="download it again"
        ) from error


class _Reader:
    def __init__(self, data: np.ndarray, where: str):
        self._data, self._where, self._place = data, where, 0

    def variables(self) -> dict[str, np.ndarray]:
        version = self._number("I")
        named = self._string() if version == _VERSION else ""
        if named != _SPECIFICATION:
            raise WeightsError(
                652,
                f"a {FILE} of version {version} and specification '{named[:40]}'",
                where=self._where,
                fix=f"version {_VERSION}, {_SPECIFICATION}",
            )
        self._number("I")
        found = dict(self._variable() for _ in range(self._number("I")))
        for _ in range(self._number("I")):
            alias = self._string()
            found[alias] = found[self._string()]
        return found

    def _variable(self) -> tuple[str, np.ndarray]:
        name = self._string()
        shape = tuple(self._number("I") for _ in range(self._number("B")))
        kind = np.dtype(_TYPES[self._number("B")])
        part = self._bytes(self._number("I"))
        return name, part.view(kind).reshape(shape)

    def _string(self) -> str:
        return self._bytes(self._number("H")).tobytes().rstrip(b"\0").decode()

    def _bytes(self, count: int) -> np.ndarray:
        part = self._data[self._place : self._place + count]
        if len(part) < count:
            raise ValueError(f"it ends {count - len(part)} bytes before its last value")
        self._place += count
        return part

    def _number(self, kind: str) -> int:
        return struct.unpack(f"<{kind}", self._bytes(struct.calcsize(kind)).tobytes())[0]


def _config(
    arrays: Arrays, tokens: Mapping[str, int], extra: Mapping[str, Any], source: Path
) -> dict[str, Any]:
    """transformers' config, from the shapes."""
    where = str(source / FILE)
    if int(arrays["encoder/num_heads"]) < 1 or int(arrays["decoder/activation"]) != _GELU:
        raise WeightsError(652, "no Whisper that is known: its activation is no GELU", where=where)
    types = {str(one.dtype) for name, one in arrays.items() if name.endswith("weight")}
    if not types <= set(_FLOATS):
        raise WeightsError(
            652,
            f"weights of the types {', '.join(sorted(types))}",
            where=where,
            fix="take a model that is not quantised, of " + ", ".join(_FLOATS),
        )
    width, bands, _ = arrays["encoder/conv1/weight"].shape
    end = tokens["<|endoftext|>"]

    def side(name: str) -> dict[str, int]:
        first = f"{name}/layer_{{}}/ffn/linear_0/bias"
        depth = next(i for i in itertools.count() if first.format(i) not in arrays)
        return {
            f"{name}_layers": depth,
            f"{name}_attention_heads": int(arrays[f"{name}/num_heads"]),
            f"{name}_ffn_dim": arrays[f"{name}/layer_0/ffn/linear_0/weight"].shape[0],
        }

    return {
        "model_type": "whisper",
        "architectures": ["WhisperForConditionalGeneration"],
        "vocab_size": arrays["decoder/embeddings/weight"].shape[0],
        "num_mel_bins": bands,
        "d_model": width,
        **side("encoder"),
        **side("decoder"),
        "max_source_positions": arrays["encoder/position_encodings/encodings"].shape[0],
        "max_target_positions": arrays["decoder/position_encodings/encodings"].shape[0],
        "activation_function": "gelu",
        "decoder_start_token_id": tokens["<|startoftranscript|>"],
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
        "begin_suppress_tokens": extra.get("suppress_ids_begin"),
        "suppress_tokens": extra.get("suppress_ids"),
    }


def _generation(
    model: Mapping[str, Any], tokens: Mapping[str, int], extra: Mapping[str, Any]
) -> dict[str, Any]:
    """How it is decoded. A model of English alone has ids of languages and tasks too, which are
    never used.
    """
    ids = ("decoder_start_token_id", "bos_token_id", "eos_token_id", "pad_token_id")
    found = {name: model[name] for name in (*ids, "suppress_tokens", "begin_suppress_tokens")}
    many = model["vocab_size"] >= _WORDS_OF_MANY
    found |= {
        "max_length": model["max_target_positions"],
        "max_initial_timestamp_index": 50,
        "no_timestamps_token_id": tokens["<|notimestamps|>"],
        "prev_sot_token_id": tokens["<|startofprev|>"],
        "is_multilingual": many,
        "alignment_heads": extra.get("alignment_heads"),
    }
    if many:
        languages = set(extra.get("lang_ids") or ())
        found["lang_to_id"] = {name: one for name, one in tokens.items() if one in languages}
        tasks = ("transcribe", "translate")
        found["task_to_id"] = {one: tokens[f"<|{one}|>"] for one in tasks}
    return found


def _preprocessor(model: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "feature_extractor_type": "WhisperFeatureExtractor",
        "feature_size": model["num_mel_bins"],
        "sampling_rate": _RATE,
        "n_fft": _WINDOW,
        "hop_length": _HOP,
        "chunk_length": _SECONDS,
        "n_samples": _SECONDS * _RATE,
        "nb_max_frames": _SECONDS * _RATE // _HOP,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": False,
        "processor_class": "WhisperProcessor",
    }


def _weights(
    arrays: Arrays, model: Mapping[str, Any], source: Path
) -> Iterator[tuple[str, np.ndarray]]:
    """By transformers' names."""
    yield "model.decoder.embed_tokens.weight", arrays["decoder/embeddings/weight"]
    for name in ("conv1", "conv2"):
        yield from _pair(arrays, f"encoder/{name}", f"model.encoder.{name}")
    for side in ("encoder", "decoder"):
        ours = f"model.{side}"
        yield f"{ours}.embed_positions.weight", arrays[f"{side}/position_encodings/encodings"]
        yield from _norm(arrays, f"{side}/layer_norm", f"{ours}.layer_norm")
        for index in range(model[f"{side}_layers"]):
            theirs, layer = f"{side}/layer_{index}", f"{ours}.layers.{index}"
            parts: dict[str, tuple[str, tuple[str, ...]]] = {
                "self_attention": ("self_attn", ("qkv", "o"))
            }
            if side == "decoder":
                parts["attention"] = ("encoder_attn", ("q", "kv", "o"))
            for name, (short, groups) in parts.items():
                yield from _norm(
                    arrays, f"{theirs}/{name}/layer_norm", f"{layer}.{short}_layer_norm"
                )
                for number, group in enumerate(groups):
                    linear = f"{theirs}/{name}/linear_{number}"
                    yield from _projections(arrays, linear, group, f"{layer}.{short}", source)
            yield from _norm(arrays, f"{theirs}/ffn/layer_norm", f"{layer}.final_layer_norm")
            for number in (0, 1):
                yield from _pair(arrays, f"{theirs}/ffn/linear_{number}", f"{layer}.fc{number + 1}")


def _pair(arrays: Arrays, theirs: str, ours: str) -> Iterator[tuple[str, np.ndarray]]:
    yield f"{ours}.weight", arrays[f"{theirs}/weight"]
    yield f"{ours}.bias", arrays[f"{theirs}/bias"]


def _norm(arrays: Arrays, theirs: str, ours: str) -> Iterator[tuple[str, np.ndarray]]:
    yield f"{ours}.weight", arrays[f"{theirs}/gamma"]
    yield f"{ours}.bias", arrays[f"{theirs}/beta"]


def _projections(
    arrays: Arrays, theirs: str, group: str, ours: str, source: Path
) -> Iterator[tuple[str, np.ndarray]]:
    """A matrix cut into the projections that it is made of; keys have no bias."""
    weights = np.split(arrays[f"{theirs}/weight"], len(group))
    biases = np.split(arrays[f"{theirs}/bias"], len(group))
    for letter, weight, bias in zip(group, weights, biases, strict=True):
        name = f"{ours}.{'out' if letter == 'o' else letter}_proj"
        yield f"{name}.weight", weight
        if letter != "k":
            yield f"{name}.bias", bias
        elif np.any(bias != 0):
            raise WeightsError(652, f"'{theirs}' has a bias of keys", where=str(source / FILE))


def _special_tokens(path: Path) -> dict[str, int]:
    try:
        added = json.loads(path.read_text(encoding="utf-8"))["added_tokens"]
        found = {one["content"]: int(one["id"]) for one in added}
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            651, f"{path.name} is damaged: {error!r}", where=str(path), fix="restore the file"
        ) from error
    needed = ("endoftext", "startoftranscript", "startofprev", "notimestamps")
    missing = [one for one in needed if f"<|{one}|>" not in found]
    if missing:
        raise WeightsError(651, f"no token <|{missing[0]}|>", where=str(path))
    return found


def _save(weights: Arrays, path: Path) -> None:
    from safetensors.numpy import save_file

    plain = {name: np.ascontiguousarray(one) for name, one in weights.items()}
    save_file(plain, str(path), metadata={"format": "pt"})

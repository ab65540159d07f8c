"""What a decoder begins with, and in which language: start tokens, Whisper's prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmjax.core.errors import ConfigError, nearest
from mmjax.core.files import read_json
from mmjax.generate.config import FILE, GenerationConfig
from mmjax.generate.processors import Processor
from mmjax.generate.timestamps import Timestamps
from mmjax.pretrained.load import Pretrained


def start_of(
    encoder: Pretrained, config: GenerationConfig, language: str | None
) -> tuple[list[int], GenerationConfig]:
    """The ids that a decoder starts with, and the settings with the language's forced id.

    Raises ConfigError for a language that the tokenizer has not, and where no id is known to start
    with.
    """
    if language is not None:
        known = _languages(encoder)
        if language not in known:
            raise ConfigError(
                109, f"language='{language}'", fix=nearest(language, known) if known else "none"
            )
        config = config.replace(forced_bos_token_id=known[language])
    start = config.decoder_start_token_id
    start = config.bos_token_id if start is None else start
    if start is None:
        raise ConfigError(
            109, "decoder_start_token_id is not known", fix="decoder_start_token_id=..., or prompts"
        )
    return [start], config


def speech_prompt(
    encoder: Pretrained,
    config: GenerationConfig,
    *,
    language: str | None,
    task: str | None,
    timestamps: bool,
) -> tuple[list[int], tuple[Processor, ...]]:
    """Whisper's first ids, and the processor for times where there are to be any.

    As `WhisperForConditionalGeneration.generate` makes them (transformers 4.57) when language and
    task are told; languages are codes of `lang_to_id`, with or without their brackets, or names
    ("german"). Raises ConfigError for a language or task that the model has not, and for a model of
    many languages without one.
    """
    extra = extras_of(encoder)
    start = config.decoder_start_token_id
    ids = [encoder.config.decoder_start_token_id if start is None else start]
    languages, tasks = language_ids(encoder), extra.get("task_to_id") or {}
    if language is not None:
        ids.append(languages[_code(language, languages)])
    elif languages:
        raise ConfigError(
            109,
            "no language for a model of many",
            fix="language='en', prompts of your own, or `transcribe`, which hears it",
        )
    if task is not None and task not in tasks:
        raise ConfigError(
            109,
            f"task='{task}'",
            fix=nearest(task, tasks) if tasks else "the model transcribes: leave it out",
        )
    if language is not None and tasks:
        ids.append(tasks[task or "transcribe"])
    silent = extra.get("no_timestamps_token_id")
    if not timestamps:
        return ids + ([] if silent is None else [silent]), ()
    if silent is None:
        raise ConfigError(
            109, "timestamps of a model that has none", fix=f"{FILE} has no no_timestamps_token_id"
        )
    rules = Timestamps(
        first=silent + 1,
        no_timestamps=silent,
        end=config.eos_token_id[0],
        latest=extra.get("max_initial_timestamp_index"),
    )
    return ids, (rules,)


def language_ids(encoder: Pretrained) -> dict[str, int]:
    """The ids of Whisper's languages by their codes; none for a model of one language."""
    found = extras_of(encoder).get("lang_to_id") or {}
    return {name.strip("<|>"): number for name, number in found.items()}


def _code(language: str, known: Mapping[str, int]) -> str:
    """The code of a language that is given by its code or name."""
    from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

    plain = language.lower().strip("<|>")
    code = plain if plain in known else TO_LANGUAGE_CODE.get(plain, plain)
    if code in known:
        return code
    names = [name for name, one in TO_LANGUAGE_CODE.items() if one in known]
    raise ConfigError(
        109,
        f"language='{language}'",
        fix=nearest(plain, names if len(plain) > 3 else list(known))
        if known
        else "the model knows one language: leave it out",
    )


def extras_of(encoder: Pretrained) -> Mapping[str, Any]:
    """All that a folder says of decoding, what only some models know included."""
    path = encoder.source / FILE
    return read_json(path) if path.is_file() else {}


def _languages(encoder: Pretrained) -> Mapping[str, int]:
    """The ids of a tokenizer's languages by their codes."""
    tokenizer = getattr(encoder.processor, "tokenizer", None)
    for name in ("lang_code_to_id", "lang_code_to_token"):
        found = getattr(tokenizer, name, None)
        if found and name == "lang_code_to_id":
            return dict(found)
        if found and tokenizer is not None:
            return {code: tokenizer.convert_tokens_to_ids(token) for code, token in found.items()}
    return {}

"""Decoders of tasks that start from pretrained weights: their settings, and their parameters."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any

from mmjax import encoders
from mmjax.core import config as config_lib
from mmjax.core.errors import ConfigError, nearest
from mmjax.core.registry import Spec
from mmjax.data.config import kind_of
from mmjax.data.tokenization import HuggingFace
from mmjax.generate.config import GenerationConfig
from mmjax.pretrained.load import Opened, open_folder
from mmjax.train.config import Config

log = logging.getLogger(__name__)

_KEPT = (
    "num_beams",
    "length_penalty",
    "early_stopping",
    "repetition_penalty",
    "no_repeat_ngram_size",
    "bad_words_ids",
    "suppress_tokens",
    "begin_suppress_tokens",
    "forced_bos_token_id",
    "forced_eos_token_id",
)
"""What a folder says of decoding that holds for other texts too: no lengths, and no drawing."""
_FOUND = ("decode_with", "decoding", "begins_with", "leads_with")
_MOST = 1 << 20


def source_of(config: Config) -> str:
    """The folder that the task's decoder starts from; empty if there is none."""
    return "" if config.objectives else str(config.task.options.get("pretrained", ""))


def with_decoder(config: Config, stored: Mapping[str, Any] | None = None) -> Config:
    """The config with the settings of the task's pretrained decoder spelled out.

    These are its module, the ids that a text begins with, and how the folder says that it decodes,
    each as far as the config does not say otherwise; and the folder's tokenizer for the target, and
    for the task's `prompt`, where they have none of their own. `stored` is the config of a run that
    goes on, of which they are known.

    Raises ConfigError for a folder without a decoder, a decoder of another kind than `decode_with`,
    or a language that it does not write; WeightsError as `mmjax.load_pretrained`.
    """
    source = source_of(config)
    if not source:
        return config
    if stored is not None:
        known = config_lib.from_json(Config, stored)
        if source_of(known) == source:
            found = {name: known.task.options[name] for name in _FOUND}
            return _with(config, source, config.task.replace(**found))
    opened = open_folder(source)
    given = config.task.options
    spec = _spec(opened, source, given.get("decode_with"))
    folder = GenerationConfig.from_folder(opened.folder, _flat(opened.config))
    plain = GenerationConfig()
    decoding = {
        name: getattr(folder, name)
        for name in _KEPT
        if getattr(folder, name) != getattr(plain, name)
    }
    found = {"decode_with": spec, "decoding": {**decoding, **given.get("decoding", {})}}
    if spec.name != "causal_lm":
        begin, lead = _first_ids(opened, folder)
        found |= {"begins_with": begin, "leads_with": lead}
    found |= {name: given[name] for name in ("begins_with", "leads_with") if given.get(name)}
    task = config.task.replace(**found)
    return _with(config, source, task)


def targets_of(subtree: Mapping[str, Any]) -> dict[str, Any]:
    """Of the parameters of a task's decoder, by path, those that a folder has weights for."""
    return {
        path: leaf
        for path, leaf in subtree.items()
        if not path.removeprefix("params/").startswith("gated_")
    }


def _with(config: Config, source: str, task: Spec) -> Config:
    """The config with that task, whose texts are made by the folder's tokenizer."""
    data = config.data
    targets, modalities = dict(data.targets), dict(data.modalities)
    name = task.options.get("target", "label")
    if name in targets and targets[name].name == "text":
        targets[name] = _tokenized(targets[name], source)
    prompt = task.options.get("prompt", "")
    if prompt in modalities and kind_of(modalities[prompt]) == "text":
        modalities[prompt] = _tokenized(modalities[prompt], source)
    data = dataclasses.replace(data, targets=targets, modalities=modalities)
    return dataclasses.replace(config, data=data, task=task)


def _tokenized(spec: Spec, source: str) -> Spec:
    return spec if "tokenizer" in spec.options else spec.replace(tokenizer=source)


def _spec(opened: Opened, source: str, given: Spec | None) -> Spec:
    spec = opened.spec
    if opened.family.registry is not encoders.decoders or spec.name == "ctc":
        raise ConfigError(
            109,
            f"'{source}' is a {spec.name}, which writes no text",
            where="task.pretrained",
            fix="a language model or an encoder-decoder, whole",
        )
    if given is None:
        return spec
    if given.name != spec.name:
        raise ConfigError(
            109,
            f"'{source}' is a {spec.name}, not a {given.name}",
            where="task.decode_with",
            fix=f"leave it out, or {nearest(given.name, [spec.name])}",
        )
    return spec.replace(**given.options)


def _flat(config: Any) -> dict[str, Any]:
    values = config.to_dict()
    return {**(values.get("decoder") or {}), **values}


def _first_ids(opened: Opened, folder: GenerationConfig) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What a decoder is given first, and what its tokenizer puts before every text.

    A forced first id is in place of the latter.
    """
    start = folder.decoder_start_token_id
    start = folder.bos_token_id if start is None else start
    if start is None:
        raise ConfigError(
            109,
            "decoder_start_token_id is not known",
            where=str(opened.folder),
            fix="task.begins_with=(ID,)",
        )
    if folder.forced_bos_token_id is not None:
        return (start,), (folder.forced_bos_token_id,)
    tokenizer = HuggingFace.load(str(opened.folder), _MOST)
    around = list(tokenizer.encode("").ids)
    end = around.index(tokenizer.end_id) if tokenizer.end_id in around else len(around)
    before = tuple(around[:end])
    # What comes behind the start in Whisper's tokenizer is told, not heard.
    return (before, ()) if before[:1] == (start,) else ((start,), before)

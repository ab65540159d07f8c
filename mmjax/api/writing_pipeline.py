"""Pipelines over a Hugging Face folder that write texts, of texts or of pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmjax.api.conversing import messages_of, templated
from mmjax.api.generating import generate, settings_of, texts, tokenizer_of
from mmjax.api.pretrained import load_pretrained
from mmjax.api.run import read_file
from mmjax.api.talking_models import ModelTalker, Turn
from mmjax.core.errors import ConfigError, DataError, nearest
from mmjax.core.typing import ArrayLike
from mmjax.generate.config import GenerationConfig
from mmjax.pretrained import find
from mmjax.pretrained.load import Pretrained

_MOST_AT_ONCE = 16
_SETTINGS = tuple(field.name for field in dataclasses.fields(GenerationConfig))
KEYS = {
    "text-generation": "generated_text",
    "text2text-generation": "generated_text",
    "conversational": "generated_text",
    "translation": "translation_text",
    "summarization": "summary_text",
    "image-to-text": "generated_text",
}
"""What the answer is called in each; transformers' names."""
_OWN = {
    "translation": ("src_lang", "tgt_lang"),
    "text-generation": ("return_full_text",),
}


class Writes:
    """A folder's model as one of `KEYS`.

    A call gives `[{name: text}, ...]`, as many as `num_return_sequences`, and for a list of inputs
    a list of these. Options are settings of `mmjax.generate.GenerationConfig`; over those of the
    folder stand what it says of this task (`task_specific_params`), whose `prefix` stands before
    each text, and over these the options. `translation` takes `src_lang` and `tgt_lang` as the
    tokenizer or the task's name spells them. `text-generation` gives the prompt as well unless
    `return_full_text=False`, and takes `[{"role", "content"}, ...]` for the folder's chat template,
    as `conversational` does, which gives the reply alone.

    Raises ConfigError for a model that does not fit, and an option that is none.
    """

    def __init__(self, source: Any, *, name: str, batch_size: int | None = None, **options: Any):
        self.model = source if isinstance(source, Pretrained) else load_pretrained(source)
        self.name, self._key = name, KEYS[name]
        self._size = batch_size or _MOST_AT_ONCE
        self._require_fit()
        self._tokenizer = tokenizer_of(self.model)
        self._options: dict[str, Any] = {}
        self._options = self._known(options)
        self._talker = ModelTalker(self.model) if name == "conversational" else None

    def __repr__(self) -> str:
        return f"pipeline({self.name!r}, model={str(self.model.source)!r})"

    def __call__(self, inputs: Any = None, /, **named: Any) -> Any:
        """The answers to one input, or a list of these to a list."""
        own = "image" if self.name == "image-to-text" else "text"
        if inputs is None and own in named:
            inputs = named.pop(own)
        options = self._known(named)
        if inputs is None:
            raise DataError(214, f"'{self.name}' needs its {own}", fix=f"{own}=...")
        several = isinstance(inputs, (list, tuple)) and not _is_chat(inputs)
        rows = list(inputs) if several else [inputs]
        found: list[Any] = []
        for start in range(0, len(rows), self._size):
            found += self._answers(rows[start : start + self._size], dict(options))
        return found if several else found[0]

    def _require_fit(self) -> None:
        fields = find(self.model.model_type).inputs(self.model.config)
        decodes, alone = (
            hasattr(self.model.module, "decode"),
            not hasattr(self.model.module, "encode"),
        )
        kind = "pixel_values" if self.name == "image-to-text" else "input_ids"
        fits = decodes and kind in fields
        if self.name != "conversational":
            fits &= alone == (self.name == "text-generation")
        if not fits:
            wanted = {
                "text-generation": "a language model",
                "image-to-text": "an encoder of pictures before a decoder of text",
                "conversational": "a language model, or an encoder-decoder of texts",
            }.get(self.name, "an encoder-decoder of texts")
            raise ConfigError(
                105,
                f"'{self.model.model_type}' is none for '{self.name}'",
                where=str(self.model.source),
                fix=f"give {wanted}",
            )

    def _known(self, options: Mapping[str, Any]) -> dict[str, Any]:
        known = (*_SETTINGS, *_OWN.get(self.name, ()))
        for name in options:
            if name not in known:
                what = f"pipeline '{self.name}' has no option '{name}'"
                raise ConfigError(105, what, fix=nearest(name, known))
        return {**self._options, **options}

    def _answers(self, rows: Sequence[Any], options: dict[str, Any]) -> list[Any]:
        if self._talker is not None:
            return [[{self._key: self._talker.reply(_turns(one), {}, **options)}] for one in rows]
        if self.name == "text-generation":
            return self._continued(rows, options)
        source, target = options.pop("src_lang", None), options.pop("tgt_lang", None)
        prefix, settings = self._of_task(source, target)
        fields: Any
        if self.name == "image-to-text":
            fields = self.model.processor(images=[_opened(one) for one in rows])
        else:
            fields = self._tokens(rows, prefix, source)
        language = target if self._has_languages() else None
        found = generate(self.model, fields, language=language, **{**settings, **options})
        return [[{self._key: one.strip()} for one in row] for row in texts(self.model, found)]

    def _of_task(self, source: str | None, target: str | None) -> tuple[str, dict[str, Any]]:
        """What stands before texts, and settings, by what the folder says of the task."""
        every = self.model.config.to_dict().get("task_specific_params") or {}
        name = self.name
        if name == "translation" and source is not None:
            name = f"translation_{source}_to_{target}"
        own = every.get(name, {})
        named = name in every or self._has_languages()
        if self.name == "translation" and target is not None and not named:
            known = [one for one in every if one.startswith("translation_")]
            raise ConfigError(
                105,
                f"the model is not told to translate from {source} to {target}",
                where=str(self.model.source),
                fix=nearest(name, known) if known else "leave src_lang and tgt_lang out",
            )
        return own.get("prefix", ""), {k: v for k, v in own.items() if k in _SETTINGS}

    def _has_languages(self) -> bool:
        return hasattr(self._tokenizer, "src_lang")

    def _tokens(self, rows: Sequence[Any], prefix: str, source: str | None) -> dict[str, Any]:
        for one in rows:
            if not isinstance(one, str):
                raise DataError(214, f"{type(one).__name__} is no text", fix="give texts")
        if source is not None and self._has_languages():
            self._tokenizer.src_lang = source
        fields = self.model.processor(text=[prefix + one for one in rows])
        fields.pop("token_type_ids", None)
        return fields

    def _continued(self, rows: Sequence[Any], options: dict[str, Any]) -> list[Any]:
        whole = options.pop("return_full_text", True)
        prompts = [self._prompt(one) for one in rows]
        width = max(len(ids) for ids in prompts)
        mask = np.array([[False] * (width - len(ids)) + [True] * len(ids) for ids in prompts])
        padded = [[0] * (width - len(ids)) + list(ids) for ids in prompts]
        fields: dict[str, ArrayLike] = {"input_ids": np.array(padded), "attention_mask": mask}
        config = settings_of(self.model)
        if not config.eos_token_id and self._tokenizer.eos_token_id is not None:
            config = config.replace(eos_token_id=self._tokenizer.eos_token_id)
        found = generate(self.model, fields, config=config, **options)
        answers = []
        for one, ids, row in zip(rows, prompts, found.lists(), strict=True):
            before = len(self._spell(ids))
            new = [self._spell([*ids, *more])[before:] for more in row]
            if _is_chat(one):
                new = [text.strip() for text in new]
            answers.append([{self._key: _whole(one, text) if whole else text} for text in new])
        return answers

    def _prompt(self, one: Any) -> list[int]:
        if _is_chat(one):
            if not getattr(self._tokenizer, "chat_template", None):
                raise ConfigError(
                    105,
                    "the folder has no chat template",
                    where=str(self.model.source),
                    fix="give a text, or use 'conversational'",
                )
            return templated(self._tokenizer, one, str(self.model.source))
        if not isinstance(one, str):
            raise DataError(214, f"{type(one).__name__} is no text", fix="give a text, or turns")
        return list(self._tokenizer(one)["input_ids"])

    def _spell(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(list(ids), skip_special_tokens=True)


def _is_chat(value: Any) -> bool:
    turns = isinstance(value, (list, tuple)) and len(value) > 0
    return turns and all(isinstance(one, Mapping) and "role" in one for one in value)


def _turns(value: Any) -> list[Turn]:
    """A text is a turn of the user's; of several the roles are told."""
    if isinstance(value, str):
        return [Turn("user", value)]
    if _is_chat(value):
        return [Turn(one["role"], str(one["content"])) for one in value]
    raise DataError(214, f"{type(value).__name__} is no turn", fix="a text, or role and content")


def _whole(given: Any, text: str) -> Any:
    if isinstance(given, str):
        return given + text
    (said,) = messages_of([Turn("assistant", text)])
    return [*given, said]


def _opened(value: Any) -> Any:
    return read_file(value) if isinstance(value, str) or hasattr(value, "__fspath__") else value

"""A language model or an encoder-decoder out of a folder as one side of a conversation."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mmjax.api.conversing import (
    NEW_TOKENS,
    OnText,
    Talker,
    Turn,
    messages_of,
    spoken,
    templated,
)
from mmjax.api.generating import generate, settings_of, tokenizer_of
from mmjax.api.pretrained import load_pretrained
from mmjax.core.errors import ConfigError
from mmjax.core.typing import ArrayLike
from mmjax.generate.config import GenerationConfig
from mmjax.pretrained.load import Pretrained

log = logging.getLogger(__name__)

_BETWEEN = {"blenderbot": "  ", "blenderbot-small": "  "}
"""What encoder-decoders were trained with between turns; a blank for all others."""


class ModelTalker(Talker):
    """What was said goes through the folder's chat template, where it has one.

    Without one, each turn is followed by the end token, as DialoGPT (Zhang et al. 2020) was
    trained; an encoder-decoder reads the turns in a row. Where all turns do not fit before a reply,
    the oldest are left out. Raises ConfigError for a folder without a decoder of text, or a
    tokenizer.
    """

    def __init__(self, source: Any):
        self.model = source if isinstance(source, Pretrained) else load_pretrained(source)
        if not hasattr(self.model.module, "decode") or self.model.model_type == "whisper":
            raise ConfigError(
                109,
                f"'{self.model.model_type}' does not converse",
                where=str(self.model.source),
                fix="load a language model, or an encoder-decoder of texts, whole",
            )
        self.tokenizer = tokenizer_of(self.model)
        config = settings_of(self.model)
        if not config.eos_token_id and self.tokenizer.eos_token_id is not None:
            config = config.replace(eos_token_id=self.tokenizer.eos_token_id)
        self.config = config

    def reply(
        self,
        turns: Sequence[Turn],
        media: Mapping[str, Any],
        on_text: OnText | None = None,
        **settings: Any,
    ) -> str:
        config = self.config.replace(**settings)
        if "max_new_tokens" not in settings and self._alone:
            most = self._positions
            new = NEW_TOKENS if most is None else min(NEW_TOKENS, most // 2)
            config = config.replace(max_new_tokens=new, max_length=None)
        ids = self._fitting(list(turns), config)
        fields: dict[str, ArrayLike] = {
            "input_ids": np.array([ids], np.int32),
            "attention_mask": np.ones((1, len(ids)), bool),
        }

        def run(on_tokens: Any) -> Any:
            return generate(self.model, fields, config=config, on_tokens=on_tokens)

        return spoken(run, self._spell, config, on_text)

    @property
    def _alone(self) -> bool:
        """Whether it is a language model, whose turns and reply are in one row."""
        return not hasattr(self.model.module, "encode")

    @property
    def _positions(self) -> int | None:
        """Tokens of turns, and with a language model of the reply."""
        if self._alone:
            known = getattr(self.model.config, "max_position_embeddings", None)
            return self.model.module.most_positions or known
        most = getattr(self.model.module, "max_length", None)
        longest = self.tokenizer.model_max_length
        return most if most is not None or longest > NEW_TOKENS**3 else longest

    def _spell(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True)

    def _fitting(self, turns: list[Turn], config: GenerationConfig) -> list[int]:
        """The ids of the turns, the oldest left out as far as they must be."""
        most = self._positions
        room = most
        if most is not None and self._alone:
            room = most + 1 - (config.max_new_tokens or 1)
        while True:
            ids = self._ids(turns)
            first = 1 if turns[0].role == "system" else 0
            if room is None or len(ids) <= room or len(turns) - first <= 1:
                return ids
            # A reply without what it replies to would stand first.
            gone = 2 if len(turns) - first > 2 else 1
            log.info("%d turns are left out: there is room for %d tokens", gone, room)
            del turns[first : first + gone]

    def _ids(self, turns: Sequence[Turn]) -> list[int]:
        messages = messages_of(turns)
        if self._alone and getattr(self.tokenizer, "chat_template", None):
            return templated(self.tokenizer, messages, str(self.model.source))
        if self._alone:
            end = self.tokenizer.eos_token_id
            ids: list[int] = []
            for one in turns:
                ids += self.tokenizer(one.text, add_special_tokens=False)["input_ids"]
                ids += [] if end is None else [end]
            return ids
        between = _BETWEEN.get(self.model.model_type, " ")
        return list(self.tokenizer(between.join(one.text for one in turns))["input_ids"])

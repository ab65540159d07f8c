"""The settings of decoding, by Hugging Face's names."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from mmjax.core.errors import ConfigError, nearest
from mmjax.core.files import read_json

FILE = "generation_config.json"
Ids = tuple[int, ...]
_LISTS = ("eos_token_id", "forced_eos_token_id", "suppress_tokens", "begin_suppress_tokens")
_NESTED = ("bad_words_ids", "stop_sequences")
_ANY_OF = {"early_stopping": (False, True, "never")}
DEFAULT_NEW_TOKENS = 20
"""Where neither `max_new_tokens` nor `max_length` is given, as in transformers."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GenerationConfig:
    """How tokens are chosen, and when to stop; the fields mean what they mean in transformers.

    Lengths are those of each row: `max_length` and `min_length` count its prompt (for an
    encoder-decoder that of the decoder), and no padding. `stop_sequences` are ids that end a row,
    the ids included; `stop_strings` end it wherever tokens meet in them, behind the token in which
    one ends. What is given as one id or one string becomes a tuple. With `output_scores` the
    log-probability of each token is returned. Raises ConfigError for a value out of range.
    """

    max_new_tokens: int | None = None
    max_length: int | None = None
    min_new_tokens: int | None = None
    min_length: int = 0
    do_sample: bool = False
    temperature: float = 1.0
    top_k: int = 50
    top_p: float = 1.0
    min_p: float | None = None
    num_beams: int = 1
    num_return_sequences: int = 1
    early_stopping: bool | Literal["never"] = False
    length_penalty: float = 1.0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    bad_words_ids: tuple[Ids, ...] = ()
    suppress_tokens: Ids = ()
    begin_suppress_tokens: Ids = ()
    forced_bos_token_id: int | None = None
    forced_eos_token_id: Ids = ()
    stop_sequences: tuple[Ids, ...] = ()
    stop_strings: tuple[str, ...] = ()
    renormalize_logits: bool = False
    bos_token_id: int | None = None
    eos_token_id: Ids = ()
    pad_token_id: int | None = None
    decoder_start_token_id: int | None = None
    output_scores: bool = False

    def __post_init__(self) -> None:
        for name in _LISTS:
            object.__setattr__(self, name, _ids(getattr(self, name)))
        for name in _NESTED:
            groups = getattr(self, name) or ()
            object.__setattr__(self, name, tuple(_ids(one) for one in groups))
        strings = self.stop_strings or ()
        strings = (strings,) if isinstance(strings, str) else tuple(strings)
        object.__setattr__(self, "stop_strings", strings)
        self._check()

    @property
    def padding(self) -> int:
        """What stands behind the end of a row: `pad_token_id`, or else the end token, or else 0."""
        if self.pad_token_id is not None:
            return self.pad_token_id
        return self.eos_token_id[0] if self.eos_token_id else 0

    def replace(self, **changes: Any) -> GenerationConfig:
        """With other settings; raises ConfigError for a name that is none."""
        known = [field.name for field in dataclasses.fields(self)]
        for name in changes:
            if name not in known:
                raise ConfigError(109, f"'{name}' is no setting", fix=nearest(name, known))
        return dataclasses.replace(self, **changes)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> GenerationConfig:
        """From the fields of a `generation_config.json` or `config.json`; others are left out.

        A field that is null has its default.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        given = {k: v for k, v in values.items() if k in known and v is not None}
        return cls(**{k: v for k, v in given.items() if k not in ("output_scores",)})

    @classmethod
    def from_folder(
        cls, folder: str | os.PathLike, model: Mapping[str, Any] | None = None
    ) -> GenerationConfig:
        """Of a folder's `generation_config.json`; where there is none, of the model's config.

        Raises ConfigError for a file that cannot be read.
        """
        path = Path(folder) / FILE
        if not path.is_file():
            return cls.of(model or {})
        try:
            return cls.of(read_json(path))
        except (ValueError, TypeError, AttributeError) as error:
            raise ConfigError(
                109, f"{FILE} is damaged: {error}", where=str(path), fix="restore the file"
            ) from error

    def _check(self) -> None:
        least = {
            "max_new_tokens": 1,
            "max_length": 1,
            "num_beams": 1,
            "num_return_sequences": 1,
            "no_repeat_ngram_size": 0,
            "top_k": 0,
            "min_new_tokens": 0,
            "min_length": 0,
        }
        for name, bound in least.items():
            value = getattr(self, name)
            if value is not None and value < bound:
                raise ConfigError(109, f"{name}={value}", fix=f"{bound} or more")
        for name in ("temperature", "repetition_penalty"):
            if not getattr(self, name) > 0:
                raise ConfigError(109, f"{name}={getattr(self, name)}", fix="more than 0")
        if not 0 < self.top_p <= 1:
            raise ConfigError(109, f"top_p={self.top_p}", fix="more than 0, and 1 at most")
        if self.min_p is not None and not 0 <= self.min_p <= 1:
            raise ConfigError(109, f"min_p={self.min_p}", fix="from 0 to 1")
        if self.early_stopping not in _ANY_OF["early_stopping"]:
            raise ConfigError(
                109, f"early_stopping={self.early_stopping!r}", fix="False, True or 'never'"
            )
        one_answer = self.num_beams == 1 and not self.do_sample
        if self.num_return_sequences > (1 if one_answer else self.num_beams) and not (
            self.do_sample and self.num_beams == 1
        ):
            raise ConfigError(
                109,
                f"num_return_sequences={self.num_return_sequences} of num_beams={self.num_beams}",
                fix="as many beams or more, or do_sample=True without beams",
            )
        if any(not one for one in (*self.stop_sequences, *self.bad_words_ids)):
            raise ConfigError(109, "stop_sequences or bad_words_ids with no ids in one")
        if not all(self.stop_strings):
            raise ConfigError(109, "stop_strings with an empty one", fix="leave it out")


def _ids(value: Any) -> Ids:
    if value is None:
        return ()
    return (int(value),) if isinstance(value, int) else tuple(int(one) for one in value)

"""A data set of the shapes that a config alone says, for programs that are compiled ahead of time.

No row is read. What only rows tell (classes, the columns of tables) is refused by `outline`; the
caller then reads them.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmjax.core.errors import ConfigError, DataError, MMJaxError
from mmjax.data.config import DataConfig
from mmjax.data.config import modalities as registry
from mmjax.data.dataset import Dataset
from mmjax.data.modalities.text import Text, TextProcessor
from mmjax.data.quarantine import Quarantine
from mmjax.data.subwords import Encoded
from mmjax.data.table import Table
from mmjax.data.tokenization import OURS, HuggingFace

ROWS = 1_000_000
"""Training rows that are assumed: only the number of steps in an epoch depends on them."""

VOCABULARIES = {
    "bert-base-uncased": 30522,
    "google-bert/bert-base-uncased": 30522,
    "bert-base-cased": 28996,
    "roberta-base": 50265,
    "FacebookAI/roberta-base": 50265,
    "gpt2": 50257,
    "openai-community/gpt2": 50257,
    "openai/clip-vit-base-patch16": 49408,
    "openai/clip-vit-base-patch32": 49408,
    "openai/clip-vit-large-patch14": 49408,
    "google/siglip-base-patch16-224": 32000,
    "google/siglip-so400m-patch14-384": 32000,
    "google-t5/t5-base": 32128,
    "t5-base": 32128,
}
"""Ids of tokenizers that may not be at hand, as their config.json says."""


class NeedsRows(DataError):
    """Some shape is known of the rows only."""


class StandIn:
    """A tokenizer that knows how many ids there are, and cuts no text."""

    pad_id = 0
    special_ids = (0, 1, 2, 3, 4)
    mask_id: int | None = 4
    word_starts: str | None = None

    def __init__(self, vocab_size: int, *, segments: bool = False):
        self.vocab_size, self.segments = vocab_size, segments

    def encode(self, text: str) -> Encoded:
        return Encoded([], [] if self.segments else None)

    def save(self, folder: Path) -> None:
        raise ConfigError(110, "a tokenizer that stands in for another has no files", fix="none")


@dataclasses.dataclass(frozen=True)
class Outline:
    """The data set, and in words what was assumed."""

    dataset: Dataset
    assumed: tuple[str, ...]


def outline(config: DataConfig, *, vocabulary: int | None = None) -> Outline:
    """The data set of a config whose shapes need no rows.

    A tokenizer that is not there is stood in for by the number of its ids: `vocabulary`, or what is
    known of it. Raises NeedsRows where rows must be read, ConfigError for a tokenizer of which
    nothing is known.
    """
    if config.targets:
        raise NeedsRows(215, f"targets {list(config.targets)} are known of rows", fix="give data")
    settings = {name: registry.build(spec) for name, spec in config.modalities.items()}
    names = {column for one in settings.values() for column in one.reads()}
    names |= {config.id_column} - {None}
    rows = max(ROWS, 4 * config.batch_size)
    table = Table({name: Blank(rows) for name in sorted(names)}, "no rows", "outline", lazy=True)
    assumed = [f"{rows:,} training rows"]
    fitted: dict[str, Any] = {}
    for name, one in settings.items():
        if type(one) is Text:
            tokenizer, told = _tokenizer(one, vocabulary)
            fitted[name] = TextProcessor(one, tokenizer)
            assumed += [f"data.modalities.{name}.tokenizer: {told}"] if told else []
            continue
        try:
            fitted[name] = one.fit(table, np.arange(1))
        except DataError as error:
            raise NeedsRows(error.code, error.what, where=f"data.modalities.{name}") from error
    splits = {"train": np.arange(rows)}
    columns = {name: one.reads() for name, one in settings.items()}
    left_out = Quarantine(table, dataclasses.replace(config, id_column=None))
    return Outline(Dataset(config, table, splits, fitted, {}, columns, left_out), tuple(assumed))


class Blank(Sequence[Any]):
    """A column of missing cells that takes no memory."""

    def __init__(self, rows: int):
        self._rows = rows

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return list(itertools.repeat(None, len(range(*index.indices(self._rows)))))
        return None


def _tokenizer(one: Text, vocabulary: int | None) -> tuple[Any, str]:
    """The tokenizer, or what stands in for it and what that assumes."""
    if one.tokenizer == "subwords":
        raise NeedsRows(501, "the words of a bag are known of rows", fix="give data")
    if one.tokenizer in OURS:
        size = vocabulary or one.vocab_size
        return StandIn(size), f"{size:,} ids, the most that it may learn"
    known = vocabulary or VOCABULARIES.get(one.tokenizer)
    if known is not None and not Path(one.tokenizer).is_dir():
        return StandIn(known, segments="bert-base" in one.tokenizer), f"{known:,} ids"
    try:
        return HuggingFace.load(one.tokenizer, one.max_length), ""
    except MMJaxError as error:
        raise ConfigError(
            error.code,
            error.what,
            where="the tokenizer, of which the number of ids is needed",
            fix="say it: --vocabulary 50000",
        ) from error

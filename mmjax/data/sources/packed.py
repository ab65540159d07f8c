"""Rows of several short texts, so that little of a batch is padding."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmjax.core.errors import ConfigError, DataError
from mmjax.core.files import atomic
from mmjax.core.typing import Int
from mmjax.data import lazy
from mmjax.data.config import SourceSpec
from mmjax.data.config import sources as registry
from mmjax.data.first_fit import first_fit
from mmjax.data.modalities.text import Text
from mmjax.data.sources.index_files import cache_folder
from mmjax.data.sources.shards import LazyColumn
from mmjax.data.table import Table
from mmjax.data.tokenization import OURS

logger = logging.getLogger(__name__)

ROWS = "__rows__"
"""The column of the rows of the source that are in each row."""


@dataclasses.dataclass(frozen=True)
class Packed:
    """Texts of `column` of another source, as many in a row as have `max_length` tokens together.

    A cell is a list of texts, for the modality `packed_text` with the same column, tokenizer and
    `max_length`. Bins are filled once, first fit in the order of the rows, within each split that
    the source knows; then they are rows like others, so that training is shuffled, shared among
    hosts and resumed as ever. (Grain packs a stream as it comes: what is in a batch then depends on
    where the stream began.) Longer texts are alone in a row, and cut; rows without a text, or with
    one that cannot be read, are in none.

    Every text is tokenised once to know its length, which is kept in `cache`; the tokenizer is a
    folder or hub id, since one that is learnt would need the rows first.
    """

    source: SourceSpec
    column: str
    tokenizer: str
    max_length: int = 512
    max_texts: int = 64
    """The most texts of a row."""
    cache: str | None = None
    """The folder of lengths; `mmjax/indexes` in the user's cache if None."""

    def read(self) -> Table:
        """The bins as a table."""
        if self.tokenizer in OURS:
            raise ConfigError(
                106,
                f"tokenizer = '{self.tokenizer}' is learnt from rows that are not packed yet",
                where="source packed",
                fix="give a tokenizer's folder or hub id",
            )
        table = registry.build(self.source).read()
        lengths = self._lengths(table)
        if not lengths.any():
            raise DataError(501, f"no row has text in '{self.column}'", where=table.name)
        found: list[Int[np.ndarray, "_"]] = []
        sizes: list[Int[np.ndarray, "_"]] = []
        splits: dict[str, Int[np.ndarray, "_"]] = {}
        bins = 0
        for name, rows in (table.splits or {"": np.arange(len(table))}).items():
            order, starts = first_fit(lengths[rows], self.max_length, self.max_texts)
            found.append(rows[order])
            sizes.append(np.diff(starts))
            splits[name] = np.arange(bins, bins + len(starts) - 1)
            bins += len(starts) - 1
        packs = _Packs(
            table.column(self.column),
            np.concatenate(found),
            np.concatenate([[0], np.cumsum(np.concatenate(sizes))]),
        )
        logger.info(
            "%d texts in %d rows: %.1f %% of the places hold tokens",
            len(packs.rows),
            bins,
            100 * lengths.clip(max=self.max_length).sum() / (bins * self.max_length),
        )
        digest = hashlib.sha256(f"{table.fingerprint} {self.max_length}".encode())
        digest.update(packs.rows.astype("<i8").tobytes() + packs.starts.astype("<i8").tobytes())
        return Table(
            columns={
                self.column: LazyColumn(bins, packs.cells),
                ROWS: LazyColumn(bins, packs.of),
            },
            name=f"{table.name}, packed",
            fingerprint=digest.hexdigest(),
            bad=table.bad,
            splits=splits if table.splits is not None else None,
            places=LazyColumn(bins, _first_place, table, packs),
            lazy=table.lazy,
        )

    def _lengths(self, table: Table) -> Int[np.ndarray, "n"]:
        """Tokens of each row, 0 where there is no text."""
        everything = np.arange(len(table))
        text = Text(self.column, tokenizer=self.tokenizer, max_length=self.max_length)
        processor = text.fit(table, everything)
        # What the tokenizer makes of a text tells it from others of the same name.
        probe = [processor.facts["vocab_size"], processor.facts["special_ids"]]
        identity = (table.fingerprint, self.column, self.tokenizer, self.max_length, probe)
        name = hashlib.sha256(repr(identity).encode()).hexdigest()[:32]
        path = cache_folder(self.cache) / f"{name}.npy"
        if path.is_file():
            try:
                found = np.load(path, allow_pickle=False)
                if found.shape == (len(table),):
                    return found
            except (OSError, ValueError, EOFError) as error:
                logger.warning("the lengths in %s are damaged, and are made anew: %s", path, error)
        found = lazy.lengths(processor, table, everything)
        try:
            with atomic(path, "wb") as file:
                np.save(file, found)
        except OSError as error:
            logger.warning("the lengths cannot be kept in %s: %s", path.parent, error)
        return found


class _Packs:
    """Which rows are in which bin."""

    def __init__(
        self, cells: Sequence[Any], rows: Int[np.ndarray, "n"], starts: Int[np.ndarray, "bins_1"]
    ):
        self._cells = cells
        self.rows, self.starts = rows, starts

    def of(self, index: int) -> list[int]:
        return self.rows[self.starts[index] : self.starts[index + 1]].tolist()

    def cells(self, index: int) -> list[Any]:
        return [self._cells[row] for row in self.of(index)]


def _first_place(index: int, table: Table, packs: _Packs) -> str:
    return table.where(packs.of(index)[0])

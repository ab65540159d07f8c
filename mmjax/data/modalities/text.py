"""A column of text."""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mmjax.core.errors import ConfigError, DataError
from mmjax.core.typing import Int
from mmjax.data import tokenization
from mmjax.data.cells import clean_text, shown
from mmjax.data.fast_tokenizer import Fast
from mmjax.data.marking import Marked, marked
from mmjax.data.modalities.base import Cells, Example, Place
from mmjax.data.modalities.marks import Marks
from mmjax.data.subwords import Subwords
from mmjax.data.table import Table
from mmjax.data.tokenization import HuggingFace, Tokenizer, Trained
from mmjax.data.transforms.words import drop_words

_CONTROLS = dict.fromkeys((*range(32), *range(127, 160)), " ")


@dataclasses.dataclass(frozen=True)
class Text:
    """Token ids of one column.

    Fields: `input_ids` int32 [b n], `attention_mask` bool [b n], and `token_type_ids` where a
    Hugging Face tokenizer has them. n is the smallest of `lengths` and `max_length` that holds the
    longest text of the global batch. Empty text is missing. Texts are cut to `max_chars` before
    anything else; they are put into Unicode's composed form, with lone surrogates as U+FFFD and
    control characters as blanks.

    With `offsets`, also `offsets` int32 [b n 2]: the half-open range of each token's characters in
    the cell, without the blanks around it; (0, 0) for special tokens, padding and tokens of blanks
    alone. Characters are counted in the cell as the table holds it, which is in the composed form
    already: what points into a text that a file has in another form was counted otherwise.

    With `marks`, a column as that of a modality of kind marks, `markers` are written around those
    parts of the text before it is cut into tokens, as entity markers (Soares et al. 2019; by
    default the punctuation of Zhou and Chen 2022), which a tokenizer should know. `offsets` are
    those of the text without them, a marker's those of its part.
    """

    column: str
    tokenizer: str = "wordpiece"
    """"wordpiece", "bpe" or "characters", learnt from the training rows; "subwords", a bag of words
    and their character n-grams; or the folder or hub id of a Hugging Face tokenizer."""
    vocab_size: int = 2000
    """What is learnt holds no more words or pieces than this."""
    max_length: int = 32
    """Tokens, special ones included."""
    lengths: tuple[int, ...] = ()
    """Shorter lengths that a batch may be padded to."""
    lower_case: bool = True
    word_dropout: float = 0.0
    """The share of words left out of a training text, one at least staying."""
    max_chars: int = 10_000
    words: bool = True
    """For "subwords": whether words have ids of their own."""
    ngrams: tuple[int, int] = (3, 5)
    """For "subwords": the shortest and the longest n-gram; (0, 0) for none."""
    buckets: int = 20_000
    """For "subwords": how many ids n-grams are hashed to; 0 gives each its own."""
    min_count: int = 1
    """For "subwords": words and n-grams must occur this often to have an id of their own."""
    offsets: bool = False
    """Whether batches tell which characters each token is of: for tasks about parts of a text."""
    marks: str | None = None
    """The column of the parts that get markers."""
    markers: Mapping[str, tuple[str, str]] = dataclasses.field(
        default_factory=lambda: {"head": ("@", "@"), "tail": ("#", "#")}
    )
    """What is written before and after each, by name."""

    meaning: ClassVar[tuple[str, ...]] = ("tokenizer",)

    def __post_init__(self) -> None:
        wrong = {
            "max_length": self.max_length < 1,
            "max_chars": self.max_chars < 1,
            "lengths": any(not 0 < length <= self.max_length for length in self.lengths),
            "word_dropout": not 0 <= self.word_dropout < 1,
            "ngrams": not 0 <= self.ngrams[0] <= self.ngrams[1],
            "buckets": self.buckets < 0,
        }
        for name in (name for name, is_wrong in wrong.items() if is_wrong):
            raise ConfigError(
                106,
                f"{name} = {getattr(self, name)!r} is out of range",
                where="text modality",
                fix="lengths lie in 1 to max_length, word_dropout in [0, 1), ngrams ascend",
            )
        tokenization.check_name(self.tokenizer)
        if self.offsets or self.marks is not None:
            self._check_offsets()

    def _check_offsets(self) -> None:
        why = ""
        if self.tokenizer == "subwords":
            why = "tokenizer = 'subwords' makes bags of words, whose ids stand nowhere"
        elif self.word_dropout > 0:
            why = f"word_dropout = {self.word_dropout} moves what is left of a text"
        elif not set(self.own_columns) <= set(self.reads()):
            why = "training draws texts of other columns"
        if why:
            raise ConfigError(
                106,
                f"{'offsets' if self.offsets else 'marks'} are asked for, but {why}",
                where="text modality",
                fix="give kind text, wordpiece, bpe or a tokenizer's folder, and word_dropout = 0",
            )

    def reads(self) -> tuple[str, ...]:
        return self.own_columns

    @property
    def own_columns(self) -> tuple[str, ...]:
        """What `with_marks` reads."""
        return (self.column,) if self.marks is None else (self.column, self.marks)

    def with_marks(self, cells: Cells, place: Place) -> Marked | None:
        """The clean text of a row, with the markers of its parts; None if there is none."""
        cell = cells[self.column]
        text = self.text(cell, place)
        if text is None or self.marks is None:
            return None if text is None else marked(text, ())
        names = tuple(self.markers)
        found = Marks(self.marks, names=names).of({self.marks: cells[self.marks]}, place)
        if found is None:
            return marked(text, ())
        start = self.start(cell, place)
        moved = ((max(a - start, 0), b - start) for a, b in found.tolist())
        both = zip(moved, self.markers.values(), strict=True)
        return marked(text, [(a, b, *around) for (a, b), around in both if b > a])

    def text(self, cell: Any, place: Place) -> str | None:
        """The clean text of a cell, None if there is none. Raises DataError for no text."""
        if cell is None:
            return None
        return clean_text(self._characters(cell, place)).translate(_CONTROLS).strip() or None

    def _characters(self, cell: Any, place: Place) -> str:
        if not isinstance(cell, str):
            if isinstance(cell, bool) or not isinstance(cell, (int, float)):
                raise DataError(
                    503,
                    f"'{shown(cell)}' is no text",
                    where=place.where(self.column),
                    fix="give a column of text",
                )
            cell = str(cell)
        return cell[: self.max_chars]

    def start(self, cell: Any, place: Place) -> int:
        """The character of the cell that its clean text begins with.

        Raises DataError for a cell that is not in the composed form, as those of tables are.
        """
        raw = self._characters(cell, place)
        if not unicodedata.is_normalized("NFC", raw):
            raise DataError(
                503,
                "characters are composed of several, so that places in the text are not known",
                where=place.where(self.column),
                fix="give the text in Unicode's composed form (NFC)",
            )
        blanks = raw.translate(_CONTROLS)
        return len(blanks) - len(blanks.lstrip())

    def check(self, cells: Cells, place: Place, *, decode: bool = False) -> bool:
        return self.text(cells[self.column], place) is not None

    def fit(self, table: Table, rows: Int[np.ndarray, "n"]) -> TextProcessor:
        """The tokenizer, learnt from the texts of the training rows or loaded."""
        return TextProcessor(self, self._learn(self._texts(table, rows)))

    def load(self, folder: Path) -> TextProcessor:
        return TextProcessor(self, tokenization.load(self.tokenizer, folder, self.max_length))

    def _texts(self, table: Table, rows: Int[np.ndarray, "n"]) -> Iterator[str]:
        columns = {column: table.column(column) for column in self.own_columns}
        found = False
        for row in rows.tolist():
            cells = {column: values[row] for column, values in columns.items()}
            one = self.with_marks(cells, Place(table, row))
            if one is not None:
                found = True
                yield one.text
        if not found:
            raise DataError(
                501,
                f"no training row has text in '{self.column}'",
                where=table.name,
                fix="choose another column",
            )

    def _learn(self, texts: Iterator[str]) -> Tokenizer:
        if self.tokenizer == "subwords":
            return Subwords.train(
                texts,
                vocab_size=self.vocab_size,
                words=self.words,
                ngrams=self.ngrams,
                buckets=self.buckets,
                min_count=self.min_count,
                lower_case=self.lower_case,
                max_length=self.max_length,
            )
        if self.tokenizer in tokenization.TRAINED:
            return Trained.train(
                self.tokenizer,
                texts,
                vocab_size=self.vocab_size,
                max_length=self.max_length,
                lower_case=self.lower_case,
            )
        return HuggingFace.load(self.tokenizer, self.max_length)


class TextProcessor:
    """Facts: `vocab_size`, `pad_id`, `max_length`, `mask_id`, `special_ids`, `word_starts`.

    The last three are those of `tokenization.Tokenizer`.
    """

    def __init__(self, settings: Text, tokenizer: Tokenizer):
        self._settings = settings
        self._tokenizer = tokenizer
        self._placed = None
        if settings.offsets and isinstance(tokenizer, (Trained, HuggingFace, Fast)):
            self._placed = tokenizer.placed
            # What cannot tell says so here, before any batch is made.
            self._placed("")
        self.random = settings.word_dropout > 0
        lengths = sorted({*settings.lengths, settings.max_length})
        self.padded_lengths = tuple(lengths) if settings.lengths else ()
        self.facts: dict[str, Any] = {
            "vocab_size": tokenizer.vocab_size,
            "pad_id": tokenizer.pad_id,
            "max_length": settings.max_length,
            "mask_id": tokenizer.mask_id,
            "special_ids": tokenizer.special_ids,
            "word_starts": tokenizer.word_starts,
        }

    @property
    def tokenizer(self) -> Tokenizer:
        """What makes the ids."""
        return self._tokenizer

    def save(self, folder: Path) -> None:
        """The tokenizer's files."""
        self._tokenizer.save(folder)

    def example(
        self, cells: Cells, place: Place, rng: np.random.Generator | None
    ) -> Example | None:
        """The ids of one text, unpadded."""
        cell = cells[self._settings.column]
        one = self._settings.with_marks(cells, place)
        if one is None:
            return None
        text = one.text
        if rng is not None and self.random:
            text = drop_words(text, rng, self._settings.word_dropout)
        if self._placed is None:
            ids, segments = self._tokenizer.encode(text)
            fields = {"input_ids": np.array(ids, np.int32)}
        else:
            ids, segments, ranges = self._placed(text)
            start = self._settings.start(cell, place)
            fields = {"input_ids": np.array(ids, np.int32), "offsets": _moved(one, ranges, start)}
        if segments is not None:
            fields["token_type_ids"] = np.array(segments, np.int32)
        return fields

    def ranges(self, text: str) -> list[tuple[int, int]]:
        """The half-open range of characters of each id of a clean text; (0, 0) for special ones.

        Of a bag of subwords that of the id's word. Empty where the tokenizer cannot tell.
        """
        tokenizer = self._tokenizer
        if isinstance(tokenizer, Subwords):
            return tokenizer.ranges(text)
        if isinstance(tokenizer, (Trained, HuggingFace)):
            try:
                return tokenizer.placed(text).ranges
            except ConfigError:
                return []
        return []

    def lengths(self, table: Table, rows: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
        """Tokens of each row's text."""
        settings = self._settings
        columns = {column: table.column(column) for column in settings.own_columns}
        found = []
        for row in rows.tolist():
            cells = {column: values[row] for column, values in columns.items()}
            one = settings.with_marks(cells, Place(table, row))
            found.append(0 if one is None else len(self._tokenizer.encode(one.text).ids))
        return np.array(found, np.int32)

    def collate(
        self, examples: Sequence[Example | None], length: int | None = None, *, train: bool = True
    ) -> dict[str, np.ndarray]:
        """Padded on the right to `length`, `max_length` if None."""
        shape = (len(examples), length or self._settings.max_length)
        fields = {
            "input_ids": np.full(shape, self._tokenizer.pad_id, np.int32),
            "attention_mask": np.zeros(shape, bool),
        }
        if self._tokenizer.segments:
            fields["token_type_ids"] = np.zeros(shape, np.int32)
        if self._settings.offsets:
            fields["offsets"] = np.zeros((*shape, 2), np.int32)
        for i, example in enumerate(examples):
            if example is not None:
                for field, values in example.items():
                    fields[field][i, : len(values)] = values
                fields["attention_mask"][i, : len(example["input_ids"])] = True
        return fields


def _moved(one: Marked, ranges: Sequence[tuple[int, int]], start: int) -> Int[np.ndarray, "n 2"]:
    """Ranges of a text that begins at `start`, without the blanks that byte pairs carry, as those
    of the text without marks.
    """
    moved = np.zeros((len(ranges), 2), np.int32)
    for i, (first, last) in enumerate(ranges):
        part = one.text[first:last]
        bare = part.strip()
        if bare:
            begin = first + len(part) - len(part.lstrip())
            moved[i] = np.add(one.back(begin, begin + len(bare)), start)
    return moved

"""A text as a bag of its words and their character n-grams."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mmjax.core.files import read_json, write_json

# Marks are part of a word (Indic vowel signs are no \w), so words are what is between these.
_WORD = re.compile(
    "[^\\s!-/:-@\\[-`{-~\u00a1-\u00bf\u2000-\u206f\u3000-\u303f]+"
    "|[!-/:-@\\[-`{-~\u00a1-\u00bf\u2010-\u2027\u3001-\u303f]"
)
_MOST_REMEMBERED = 200_000


class Encoded(NamedTuple):
    """Token ids, and the segment of each if the tokenizer tells segments apart."""

    ids: list[int]
    segments: list[int] | None = None


class Subwords:
    """Each word's own id, and the ids of its character n-grams (Bojanowski et al. 2017).

    Words are bounded by `<` and `>` before n-grams are taken. An n-gram's id is its CRC-32 modulo
    `buckets`, or, with 0 buckets, its place among those of the training rows. Id 0 is padding; 1
    stands for a text in which nothing is known, and for a word that is hidden. `lower_case` folds
    case.
    """

    pad_id = 0
    segments = False
    mask_id: int | None = 1
    special_ids: tuple[int, ...] = (0, 1)
    word_starts: str | None = None
    """Which n-grams are of which word is not in their ids."""

    def __init__(
        self,
        words: list[str],
        grams: list[str],
        *,
        ngrams: tuple[int, int],
        buckets: int,
        lower_case: bool,
        max_length: int,
    ):
        self._words = {word: i + 2 for i, word in enumerate(words)}
        first = 2 + len(words)
        self._grams = {gram: first + i for i, gram in enumerate(grams)}
        self._ngrams = ngrams
        self._buckets = buckets
        self._lower_case = lower_case
        self._max_length = max_length
        self._first_bucket = first
        self._remembered: dict[str, list[int]] = {}
        self.vocab_size = first + (buckets or len(grams))

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        *,
        vocab_size: int,
        words: bool,
        ngrams: tuple[int, int],
        buckets: int,
        min_count: int,
        lower_case: bool,
        max_length: int,
    ) -> Subwords:
        """The most frequent words, at most `vocab_size`, in `min_count` places or more.

        With 0 buckets, the n-grams as well, all that are as frequent.
        """
        counts = Counter(word for text in texts for word in _split(text, lower_case))
        kept = _frequent(counts, min_count)[:vocab_size] if words else []
        grams: Counter[str] = Counter()
        if not buckets:
            for word, count in counts.items():
                grams.update(dict.fromkeys(_grams(word, ngrams), count))
        return cls(
            kept,
            _frequent(grams, min_count),
            ngrams=ngrams,
            buckets=buckets,
            lower_case=lower_case,
            max_length=max_length,
        )

    @classmethod
    def load(cls, folder: Path, max_length: int) -> Subwords:
        """What `save` wrote."""
        stored = read_json(folder / "subwords.json")
        low, high = stored.pop("ngrams")
        return cls(**stored, ngrams=(low, high), max_length=max_length)

    def save(self, folder: Path) -> None:
        """`subwords.json`: words and n-grams in the order of their ids, and the settings."""
        settings: dict[str, Any] = {
            "ngrams": list(self._ngrams),
            "buckets": self._buckets,
            "lower_case": self._lower_case,
        }
        listed = {"words": list(self._words), "grams": list(self._grams)}
        write_json(folder / "subwords.json", {**settings, **listed})

    def encode(self, text: str) -> Encoded:
        """The ids of all words, then of their n-grams; the first `max_length` of them."""
        words = _split(text, self._lower_case)[: self._max_length]
        ids = [self._words[word] for word in words if word in self._words]
        for word in words:
            if len(ids) >= self._max_length:
                break
            ids += self._grams_of(word)
        return Encoded(ids[: self._max_length] or [1])

    def ranges(self, text: str) -> list[tuple[int, int]]:
        """The half-open range of characters of the word that each id of `encode` is of.

        Empty where a word folds to several, so that which id is of which is not known.
        """
        found = [(one.span(), one[0]) for one in _WORD.finditer(text)][: self._max_length]
        words = [(span, w.casefold() if self._lower_case else w) for span, w in found]
        if [word for _, word in words] != _split(text, self._lower_case)[: self._max_length]:
            return []
        ranges = [span for span, word in words if word in self._words]
        for span, word in words:
            ranges += [span] * len(self._grams_of(word))
        return ranges[: self._max_length]

    def _grams_of(self, word: str) -> list[int]:
        found = self._remembered.get(word)
        if found is None:
            grams = _grams(word, self._ngrams)
            if self._buckets:
                hashes = (zlib.crc32(gram.encode()) % self._buckets for gram in grams)
                found = [self._first_bucket + value for value in hashes]
            else:
                found = [self._grams[gram] for gram in grams if gram in self._grams]
            if len(self._remembered) < _MOST_REMEMBERED:
                self._remembered[word] = found
        return found


def _split(text: str, lower_case: bool) -> list[str]:
    return _WORD.findall(text.casefold() if lower_case else text)


def _grams(word: str, ngrams: tuple[int, int]) -> Iterator[str]:
    """The n-grams of `<word>`, the whole of it left out."""
    bounded = f"<{word}>"
    for n in range(max(1, ngrams[0]), min(ngrams[1], len(bounded) - 1) + 1):
        for start in range(len(bounded) - n + 1):
            yield bounded[start : start + n]


def _frequent(counts: Counter[str], min_count: int) -> list[str]:
    kept = [item for item, count in counts.items() if count >= min_count]
    return sorted(kept, key=lambda item: (-counts[item], item))

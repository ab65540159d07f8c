"""Dropping parts of a text while training."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

# Chinese and Japanese write no blanks between words: their characters stand for words here.
_ALONE = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"(?:[{_ALONE}]|[^\s{_ALONE}]+)\s*")


def drop_words(text: str, rng: np.random.Generator, probability: float) -> str:
    """The text without some of its words, each dropped with `probability`; one always stays.

    A word is what stands between blanks, in Chinese and Japanese a character; with it goes the
    blank after it (Iyyer et al. 2015, section 3).
    """
    words = words_of(text)
    kept = keep(len(words), rng, probability)
    return "".join(word for word, stays in zip(words, kept, strict=True) if stays).rstrip()


def words_of(text: str) -> list[str]:
    """The words of a text, each with the blanks after it; blanks before the first are left out."""
    return _WORD.findall(text)


def keep(count: int, rng: np.random.Generator, probability: float) -> Sequence[bool]:
    """Which of `count` items stay when each is dropped with `probability`; at least one does."""
    drawn = rng.random(count)
    kept = drawn >= probability
    if count and not kept.any():
        kept[int(drawn.argmax())] = True
    return kept.tolist()

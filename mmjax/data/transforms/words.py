"""Dropping parts of a text while training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def drop_words(text: str, rng: np.random.Generator, probability: float) -> str:
    """The text without some of its words, each dropped with `probability`; one always stays."""
    words = text.split()
    kept = keep(len(words), rng, probability)
    return " ".join(word for word, stays in zip(words, kept, strict=True) if stays)


def keep(count: int, rng: np.random.Generator, probability: float) -> Sequence[bool]:
    """Which of `count` items stay when each is dropped with `probability`; at least one does."""
    drawn = rng.random(count)
    kept = drawn >= probability
    if count and not kept.any():
        kept[int(drawn.argmax())] = True
    return kept.tolist()

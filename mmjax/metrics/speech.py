"""Transcripts: the error rates of words and of characters."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from mmjax.core.errors import DataError
from mmjax.metrics.texts import edit_distance

_BLANKS = re.compile(r"\s\s+")
_MARKS = re.compile(r"[^\w\s']|_")


def speech(
    predictions: Sequence[str],
    references: Sequence[str],
    *,
    lower_case: bool = False,
    punctuation: bool = True,
) -> dict[str, float]:
    """`wer` and `cer`: edits of all rows over the words or characters of all references.

    Equal to jiwer's: blanks at the ends are dropped, those between words are one; blanks within
    a text are characters. Where all references are empty a rate is the number of insertions.
    `sentence_error` is the share of rows with any wrong word. With `lower_case`, and without
    `punctuation` (apostrophes stay), both sides are so changed before. NaN of no rows. Raises
    DataError where rows do not pair up.
    """
    if len(predictions) != len(references):
        raise DataError(540, f"{len(predictions)} predictions, {len(references)} references")

    def clean(text: str) -> str:
        text = text.lower() if lower_case else text
        return text if punctuation else _MARKS.sub(" ", text)

    pairs = [(clean(a), clean(b)) for a, b in zip(references, predictions, strict=True)]
    words = [(_words(a), _words(b)) for a, b in pairs]
    wrong = [edit_distance(a, b) for a, b in words]
    letters = [(a.strip(), b.strip()) for a, b in pairs]
    edits = sum(edit_distance(a, b) for a, b in letters)
    return {
        "wer": _rate(sum(wrong), sum(len(a) for a, _ in words), len(pairs)),
        "cer": _rate(edits, sum(len(a) for a, _ in letters), len(pairs)),
        "sentence_error": sum(map(bool, wrong)) / len(pairs) if pairs else math.nan,
    }


def _words(text: str) -> list[str]:
    return [one for one in _BLANKS.sub(" ", text).strip().split(" ") if one]


def _rate(edits: int, length: int, rows: int) -> float:
    if not rows:
        return math.nan
    return edits / length if length else float(edits)

"""Summaries: ROUGE-1, ROUGE-2, ROUGE-L and ROUGE-Lsum, as rouge-score counts them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from mmjax.core.extras import require
from mmjax.metrics.texts import checked, longest_common, ngrams

_OTHER = re.compile(r"[^a-z0-9]+")
_NAMES = ("rouge_1", "rouge_2", "rouge_l", "rouge_lsum")


def summaries(
    predictions: Sequence[str],
    references: Sequence[Sequence[str] | str],
    *,
    stemmer: bool = False,
    any_script: bool = False,
) -> dict[str, float]:
    """F1 of `rouge_1`, `rouge_2`, `rouge_l` and `rouge_lsum`, means over rows, from 0 to 1.

    Equal to `rouge_scorer.RougeScorer` (Lin 2004): words are runs of a to z and 0 to 9 in lower
    case, of several references each score takes the best, and `rouge_lsum` takes the lines of a
    text for its sentences. `stemmer` cuts the endings of words of more than three letters (Porter,
    by the extra `text`). With `any_script`, words are runs of letters and digits of any script,
    which rouge-score would drop. NaN of no rows; 0 where a text has no word.
    """
    lists = checked(predictions, references)
    cut = _cutter(stemmer, any_script)
    scores = [_best(said, row, cut) for said, row in zip(predictions, lists, strict=True)]
    if not scores:
        return dict.fromkeys(_NAMES, math.nan)
    return dict(zip(_NAMES, np.mean(scores, axis=0).tolist(), strict=True))


def _cutter(stemmer: bool, any_script: bool) -> Callable[[str], list[str]]:
    stem: Callable[[str], str] = str
    if stemmer:
        stem = require("nltk.stem.porter", "text").PorterStemmer().stem

    def cut(text: str) -> list[str]:
        lower = text.lower()
        words = re.findall(r"[^\W_]+", lower) if any_script else _OTHER.sub(" ", lower).split()
        return [stem(one) if len(one) > 3 else one for one in words]

    return cut


def _best(said: str, references: Sequence[str], cut: Callable[[str], list[str]]) -> Sequence[float]:
    own, own_lines = cut(said), _lines(said, cut)
    found = []
    for one in references:
        true, lines = cut(one), _lines(one, cut)
        common = [(ngrams(own, n) & ngrams(true, n)).total() for n in (1, 2)]
        found.append(
            (
                *(_f1(common[n], len(own) - n, len(true) - n) for n in (0, 1)),
                _f1(longest_common(true, own), len(own), len(true)),
                _f1(_union(lines, own_lines), len(own), len(true)),
            )
        )
    return np.max(found, axis=0).tolist()


def _lines(text: str, cut: Callable[[str], list[str]]) -> list[list[str]]:
    return [cut(line) for line in text.split("\n") if line]


def _f1(common: int, said: int, true: int) -> float:
    return 2 * common / (said + true) if common else 0.0


def _union(true: Sequence[Sequence[str]], said: Sequence[Sequence[str]]) -> int:
    """The words that the union of each line's longest common subsequences has (section 3.2).

    No word counts more often than either text has it, as in version 1.5.5.
    """
    left_true = Counter(word for line in true for word in line)
    left_said = Counter(word for line in said for word in line)
    hits = 0
    for line in true:
        for place in sorted(set().union(*(_common_places(line, one) for one in said))):
            word = line[place]
            if left_true[word] and left_said[word]:
                hits += 1
                left_true[word] -= 1
                left_said[word] -= 1
    return hits


def _common_places(a: Sequence[str], b: Sequence[str]) -> set[int]:
    """Where in `a` a longest common subsequence stands: of several, the one rouge-score finds."""
    table = np.zeros((len(a) + 1, len(b) + 1), np.int64)
    words = np.array(b, object)
    for i, one in enumerate(a):
        row = np.maximum(table[i, 1:], table[i, :-1] + (words == one))
        table[i + 1, 1:] = np.maximum.accumulate(row) if len(b) else row
    places, i, j = set(), len(a), len(b)
    while i and j:
        if a[i - 1] == b[j - 1]:
            i, j = i - 1, j - 1
            places.add(i)
        elif table[i, j - 1] > table[i - 1, j]:
            j -= 1
        else:
            i -= 1
    return places

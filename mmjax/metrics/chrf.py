"""chrF: the F-score of n-grams of characters."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from mmjax.core.typing import ArrayLike, Float
from mmjax.metrics.texts import checked, ngrams

_CHARACTERS = 6
_BETA = 2.0
_MARKS = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")


def chrf(
    predictions: Sequence[str],
    references: Sequence[Sequence[str] | str],
    *,
    beta: float = _BETA,
    words: int = 0,
    lower_case: bool = False,
) -> float:
    """chrF2 of a whole set, from 0 to 100 (Popović 2015); equals sacrebleu's, NaN of no rows.

    N-grams of up to 6 characters, without blanks; with `words=2`, those of up to 2 words as well,
    which is chrF++ (Popović 2017). Of several references a row has the one that it is nearest to.
    """
    lists = checked(predictions, references)
    if not lists:
        return math.nan
    total = np.zeros((_CHARACTERS + words, 3))
    for said, true in zip(predictions, lists, strict=True):
        own = _counts(said.lower() if lower_case else said, words)
        best, most = total[:0], -1.0
        for one in true:
            found = _matches(own, _counts(one.lower() if lower_case else one, words))
            score = _f_score(found, beta)
            if score > most:
                best, most = found, score
        total += best
    return _f_score(total, beta)


def pairwise_chrf(texts: Sequence[str]) -> Float[np.ndarray, "n n"]:
    """chrF2 of saying each text (rows) where each is true (columns), from 0 to 100."""
    counts = [_counts(one, 0) for one in texts]
    totals, both = np.zeros((_CHARACTERS, len(texts))), []
    for order, own in enumerate(zip(*counts, strict=True)):
        places = {gram: at for at, gram in enumerate(dict.fromkeys(g for one in own for g in one))}
        table = np.zeros((len(texts), len(places)), np.int32)
        for row, one in enumerate(own):
            table[row, [places[gram] for gram in one]] = list(one.values())
        totals[order] = table.sum(axis=1)
        both.append(np.minimum(table[:, None], table[None]).sum(axis=2))
    here = (totals[:, :, None] > 0) & (totals[:, None] > 0)
    orders = np.maximum(here.sum(axis=0), 1)
    shared = np.where(here, both, 0.0)
    precision = (shared / np.maximum(totals[:, :, None], 1)).sum(axis=0) / orders
    recall = (shared / np.maximum(totals[:, None], 1)).sum(axis=0) / orders
    return 100.0 * _f_beta(precision, recall, _BETA)


def _counts(text: str, words: int) -> list[Counter]:
    joined = "".join(text.split())
    found: list[Counter] = [
        Counter(joined[i : i + n] for i in range(len(joined) - n + 1))
        for n in range(1, _CHARACTERS + 1)
    ]
    if words:
        cut = _cut(text)
        found += [ngrams(cut, n) for n in range(1, words + 1)]
    return found


def _cut(text: str) -> list[str]:
    """Words, a mark at the end of one, or else at its beginning, by itself."""
    found = []
    for word in text.split():
        if len(word) > 1 and word[-1] in _MARKS:
            found += [word[:-1], word[-1]]
        elif len(word) > 1 and word[0] in _MARKS:
            found += [word[0], word[1:]]
        else:
            found.append(word)
    return found


def _matches(said: Sequence[Counter], true: Sequence[Counter]) -> np.ndarray:
    """Of each order how many are said, true, and both. Where none are true, none count as said."""
    return np.array(
        [
            (a.total() if b else 0, b.total(), sum(min(n, b[gram]) for gram, n in a.items()))
            for a, b in zip(said, true, strict=True)
        ],
        np.float64,
    )


def _f_score(counts: np.ndarray, beta: float) -> float:
    here = (counts[:, 0] > 0) & (counts[:, 1] > 0)
    if not here.any():
        return 0.0
    said, true, both = counts[here].T
    return 100.0 * float(_f_beta(np.mean(both / said), np.mean(both / true), beta))


def _f_beta(precision: ArrayLike, recall: ArrayLike, beta: float) -> np.ndarray:
    precision, recall = np.asarray(precision), np.asarray(recall)
    most = beta**2 * precision + recall
    return np.where(most > 0, (1 + beta**2) * precision * recall / np.where(most > 0, most, 1), 0)

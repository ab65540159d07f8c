"""Replies of a dialogue: how much of the true one they say, and how varied they are."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from mmjax.metrics.question_answering import f1, normalise
from mmjax.metrics.texts import checked, exact_match, ngrams


def dialogue(
    predictions: Sequence[str], references: Sequence[Sequence[str] | str]
) -> dict[str, float]:
    """Means over rows, and variety over all of them, from 0 to 1.

    - `f1`: of the words of the reply and the nearest reference, in lower case without punctuation
      and articles, as ParlAI's (SQuAD's) counts them;
    - `exact_match`: as `mmjax.metrics.texts.exact_match`;
    - `distinct_1`, `distinct_2`: different words, and pairs of words, over how many all
      replies have (Li et al. 2016; ParlAI's `interdistinct`).

    NaN where nothing counts. Raises DataError where rows do not pair up.
    """
    lists = checked(predictions, references)
    pairs = zip(predictions, lists, strict=True)
    scores = [max(f1(one, said) for one in row) for said, row in pairs]
    return {
        "f1": sum(scores) / len(scores) if scores else math.nan,
        "exact_match": exact_match(predictions, lists),
        "distinct_1": distinct(predictions, 1),
        "distinct_2": distinct(predictions, 2),
    }


def distinct(texts: Sequence[str], n: int) -> float:
    """Different runs of `n` words over all runs in all texts; NaN where there is none."""
    counts: Counter = Counter()
    for text in texts:
        counts.update(ngrams(normalise(text).split(), n))
    return len(counts) / counts.total() if counts else math.nan

"""Captions against what several people said: BLEU, ROUGE-L, CIDEr and chrF."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from mmjax.metrics.caption_words import caption_words
from mmjax.metrics.chrf import chrf
from mmjax.metrics.texts import checked, longest_common, ngrams

Words = Literal["ptb", "blanks", "characters"]
_CUT: dict[Words, Callable[[str], list[str]]] = {
    "ptb": caption_words,
    "blanks": str.split,
    "characters": lambda text: list("".join(text.split())),
}
_ORDER = 4
_BETA = 1.2


def captions(
    predictions: Sequence[str],
    references: Sequence[Sequence[str] | str],
    *,
    words: Words = "ptb",
) -> dict[str, float]:
    """The metrics of COCO's caption evaluation but METEOR and SPICE, and chrF, in float64.

    - `bleu_1` to `bleu_4`: of the whole set, against the reference of the closest length;
    - `rouge_l`: mean over rows, the best precision and the best recall of the references;
    - `cider`: CIDEr-D, mean over rows, whose document frequencies are those of these references
      (0 for a single row);
    - `chrf`: of the whole set, from 0 to 100, of the raw texts (`mmjax.metrics.chrf`).

    The first six equal `pycocoevalcap`'s on the same words, which are cut as `caption_words` does,
    at "blanks" alone, or into "characters" for languages without blanks. NaN of no rows. Raises
    DataError where rows do not pair up.
    """
    lists = checked(predictions, references)
    said = [_CUT[words](one) for one in predictions]
    true = [[_CUT[words](one) for one in row] for row in lists]
    scores = {f"bleu_{n}": value for n, value in enumerate(bleu(said, true), start=1)}
    pairs = list(zip(said, true, strict=True))
    rouge = [_rouge_l(a, b) for a, b in pairs]
    return {
        **scores,
        "rouge_l": float(np.mean(rouge)) if rouge else math.nan,
        "cider": cider(said, true),
        "chrf": chrf(predictions, lists),
    }


def bleu(
    predictions: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]
) -> list[float]:
    """BLEU-1 to BLEU-4 of lists of words, as `pycocoevalcap` counts them (option "closest")."""
    if not predictions:
        return [math.nan] * _ORDER
    right, guesses = np.zeros(_ORDER), np.zeros(_ORDER)
    said_length = true_length = 0
    for said, true in zip(predictions, references, strict=True):
        said_length += len(said)
        true_length += min((abs(len(one) - len(said)), len(one)) for one in true)[1]
        for n in range(_ORDER):
            most: Counter = Counter()
            for one in true:
                most |= ngrams(one, n + 1)
            own = ngrams(said, n + 1)
            right[n] += sum((own & most).values())
            guesses[n] += own.total()
    # The constants are the reference's, so that a set without a match has no exact 0 either.
    precisions = (right + 1e-15) / (guesses + 1e-9)
    ratio = (said_length + 1e-15) / (true_length + 1e-9)
    short = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    return [float(np.prod(precisions[: n + 1]) ** (1 / (n + 1)) * short) for n in range(_ORDER)]


def _rouge_l(said: Sequence[str], true: Sequence[Sequence[str]]) -> float:
    """ROUGE-L of one row, in which the reference takes an empty text for one empty word."""
    own = said or [""]
    lists = [one or [""] for one in true]
    common = [longest_common(own, one) for one in lists]
    precision = max(n / len(own) for n in common)
    recall = max(n / len(one) for n, one in zip(common, lists, strict=True))
    if not precision or not recall:
        return 0.0
    return (1 + _BETA**2) * precision * recall / (recall + _BETA**2 * precision)


def cider(
    predictions: Sequence[Sequence[str]],
    references: Sequence[Sequence[Sequence[str]]],
    *,
    clipped: bool = True,
    sigma: float = 6.0,
) -> float:
    """CIDEr (Vedantam et al. 2015) of lists of words: mean over rows, ten times a cosine.

    With `clipped` CIDEr-D, which `pycocoevalcap` calls CIDEr: counts are clipped to those of the
    reference, and a difference of length costs by a Gaussian of `sigma` (of the numbers of pairs of
    words, as there). Otherwise equation 2 with equal weights, without stemming.
    """
    if not predictions:
        return math.nan
    counted = [[_counts(one) for one in row] for row in references]
    documents: Counter = Counter()
    for row in counted:
        documents.update({gram for one in row for by_length in one for gram in by_length})
    whole = math.log(len(references))

    def weigh(counts: Sequence[Counter]) -> tuple[list[dict], list[float]]:
        vectors = [
            {gram: count * (whole - math.log(max(1, documents[gram]))) for gram, count in c.items()}
            for c in counts
        ]
        return vectors, [math.sqrt(sum(value**2 for value in v.values())) for v in vectors]

    scores = []
    for said, row in zip(predictions, counted, strict=True):
        own_counts = _counts(said)
        own, own_norms = weigh(own_counts)
        total = 0.0
        for counts in row:
            vectors, norms = weigh(counts)
            gap = own_counts[1].total() - counts[1].total()
            penalty = math.exp(-(gap**2) / (2 * sigma**2)) if clipped else 1.0
            for a, b, a_norm, b_norm in zip(own, vectors, own_norms, norms, strict=True):
                if a_norm and b_norm:
                    shared = ((a[gram], b[gram]) for gram in a.keys() & b.keys())
                    product = sum((min(x, y) if clipped else x) * y for x, y in shared)
                    total += penalty * product / (a_norm * b_norm)
        scores.append(10.0 * total / _ORDER / len(row))
    return float(np.mean(scores))


def _counts(words: Sequence[str]) -> list[Counter]:
    return [ngrams(words, n + 1) for n in range(_ORDER)]

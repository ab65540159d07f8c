"""Translations: BLEU and chrF, of all rows and of each language, as sacrebleu counts them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from mmjax.core.errors import DataError
from mmjax.metrics.chrf import chrf
from mmjax.metrics.texts import checked, ngrams

Tokens = Literal["13a", "zh", "char", "none"]
_ORDER = 4
_RULES = (
    (re.compile(r"([\{-\~\[-\` -\&\(-\+\:-\@\/])"), r" \1 "),
    (re.compile(r"([^0-9])([\.,])"), r"\1 \2 "),
    (re.compile(r"([\.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)
_ENTITIES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))
# The third and fourth are what sacrebleu's two ranges beyond the first plane come to.
_CHINESE = re.compile(
    "([\u3400-\u4db5\u4e00-\u9fbb\u2001-\u2a6d\u2f81-\u2fa1\uf900-\ufa2d\ufa30-\ufa6a\ufa70-\ufad9"
    "\uff00-\uffef\u2e80-\u2eff\u3000-\u303f\u31c0-\u31ef\u2f00-\u2fdf\u2ff0-\u2fff\u3100-\u312f"
    "\u31a0-\u31bf\ufe10-\ufe1f\ufe30-\ufe4f\u2600-\u26ff\u2700-\u27bf\u3200-\u33ff])"
)
_BY_LANGUAGE: dict[str, Tokens] = {
    "zh": "zh", "ja": "char", "ko": "char", "th": "char", "km": "char", "lo": "char", "my": "char",
}  # fmt: skip


def translation(
    predictions: Sequence[str],
    references: Sequence[Sequence[str] | str],
    *,
    languages: Sequence[str] | None = None,
    tokens: Tokens | None = None,
) -> dict[str, float]:
    """`bleu` and `chrf` of all rows, from 0 to 100, as sacrebleu's `corpus_bleu` and `corpus_chrf`.

    With `languages`, the code of each row's (such as "de" or "zh_Hant"), also those of each
    language, `bleu_de` and so on, and their means over languages, `macro_bleu` and `macro_chrf`.
    BLEU's words are cut as `tokens` says, or by the language: "zh" for Chinese, "char" for those
    without blanks and for Korean (sacrebleu has MeCab cut Japanese and Korean), else "13a". NaN of
    no rows. Raises DataError where rows do not pair up.
    """
    lists = checked(predictions, references)
    if languages is not None and len(languages) != len(lists):
        raise DataError(540, f"{len(languages)} languages of {len(lists)} rows", fix="one a row")
    cuts = [tokens or tokens_of(one) for one in languages or ("",) * len(lists)]
    found = {"bleu": bleu(predictions, lists, tokens=cuts), "chrf": chrf(predictions, lists)}
    if languages is None:
        return found
    for metric in ("bleu", "chrf"):
        found[f"macro_{metric}"] = math.nan
    names = sorted(set(languages))
    own: dict[str, float] = {}
    for name in names:
        rows = [i for i, one in enumerate(languages) if one == name]
        said, true = [predictions[i] for i in rows], [lists[i] for i in rows]
        own[f"bleu_{name}"] = bleu(said, true, tokens=[cuts[i] for i in rows])
        own[f"chrf_{name}"] = chrf(said, true)
    for metric in ("bleu", "chrf"):
        values = [own[f"{metric}_{name}"] for name in names]
        found[f"macro_{metric}"] = float(np.mean(values)) if values else math.nan
    return {**found, **own}


def tokens_of(language: str) -> Tokens:
    """How BLEU cuts a language's words, by the first part of its code."""
    return _BY_LANGUAGE.get(re.split("[-_]", language.lower())[0], "13a")


def bleu(
    predictions: Sequence[str],
    references: Sequence[Sequence[str] | str],
    *,
    tokens: Tokens | Sequence[Tokens] = "13a",
    lower_case: bool = False,
) -> float:
    """Corpus BLEU-4 with exponential smoothing, from 0 to 100 (Papineni et al. 2002; Post 2018).

    `tokens` are those of all rows, or of each. NaN of no rows.
    """
    lists = checked(predictions, references)
    if not lists:
        return math.nan
    each = [tokens] * len(lists) if isinstance(tokens, str) else tokens
    right, guesses = [0] * _ORDER, [0] * _ORDER
    said_length = true_length = 0
    for said, row, cut in zip(predictions, lists, each, strict=True):
        own, *true = (
            _CUT[cut]((one.lower() if lower_case else one).rstrip()).split() for one in (said, *row)
        )
        said_length += len(own)
        true_length += min((abs(len(one) - len(own)), len(one)) for one in true)[1]
        for n in range(_ORDER):
            most: Counter = Counter()
            for one in true:
                most |= ngrams(one, n + 1)
            counts = ngrams(own, n + 1)
            right[n] += sum((counts & most).values())
            guesses[n] += counts.total()
    return _bleu_of(right, guesses, said_length, true_length)


def _bleu_of(right: Sequence[int], guesses: Sequence[int], said: int, true: int) -> float:
    """Of n-grams that match and all that were said; 0 where no run of four words was said."""
    if not any(right) or not all(guesses):
        return 0.0
    smooth, total = 1.0, 0.0
    for n in range(_ORDER):
        if not right[n]:
            smooth *= 2
        total += math.log(100.0 * (right[n] or 1 / smooth) / guesses[n])
    short = math.exp(1 - true / said) if said < true else 1.0
    return short * math.exp(total / _ORDER)


def _western(line: str) -> str:
    for rule, by in _RULES:
        line = rule.sub(by, line)
    return line


def _mteval(line: str) -> str:
    """The words of `mteval-v13a.pl`."""
    line = line.replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for entity, character in _ENTITIES:
        line = line.replace(entity, character)
    return _western(f" {line} ")


_CUT: dict[Tokens, Callable[[str], str]] = {
    "13a": _mteval,
    "zh": lambda line: _western(_CHINESE.sub(r" \1 ", line.strip())),
    "char": " ".join,
    "none": str,
}

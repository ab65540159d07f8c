"""Answers that are parts of a text: exact match and F1, of English and of Chinese."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np

from mmjax.core.errors import DataError

Language = Literal["en", "zh"]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_ENGLISH_MARKS = frozenset(string.punctuation)
_CHINESE_MARKS = frozenset("-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
_HAN = re.compile("[\u4e00-\u9fa5]")
_WORD = re.compile(r"\d+(?:[.,]\d+)*|\w+|[^\w\s]")


def normalise(text: str, language: Language = "en") -> str:
    """The text as exact match compares it.

    English: SQuAD's (Rajpurkar et al. 2016), in lower case without ASCII punctuation and articles,
    with single blanks. Chinese: CMRC's (Cui et al. 2019), in lower case without its marks.
    """
    if language == "zh":
        return "".join(one for one in text.lower().strip() if one not in _CHINESE_MARKS)
    plain = "".join(one for one in text.lower() if one not in _ENGLISH_MARKS)
    return " ".join(_ARTICLES.sub(" ", plain).split())


def pieces(text: str, language: Language = "en") -> list[str]:
    """What F1 counts: the words of an English text, of a Chinese one its characters.

    What is not Chinese is cut into words, numbers and marks (CMRC's script has NLTK do it).
    """
    if language == "en":
        return normalise(text).split()
    found, other = [], ""
    for one in text.lower().strip():
        if one in _CHINESE_MARKS:
            continue
        if _HAN.match(one):
            found += [*_WORD.findall(other), one]
            other = ""
        else:
            other += one
    return found + _WORD.findall(other)


def exact_match(answer: str, said: str, language: Language = "en") -> float:
    """1 where the two are the same once normalised, else 0."""
    return float(normalise(answer, language) == normalise(said, language))


def f1(answer: str, said: str, language: Language = "en") -> float:
    """F1 of what the two have in common: of English words, as SQuAD 2.0's script counts them; of
    Chinese, the longest common run of characters, as CMRC's does. Of two empty ones 1.
    """
    true, found = pieces(answer, language), pieces(said, language)
    if not true or not found:
        # CMRC has no empty answers, and its script gives them 0.
        return float(true == found) if language == "en" or not (answer or said) else 0.0
    if language == "zh":
        common = _longest_run(true, found)
    else:
        common = sum((Counter(true) & Counter(found)).values())
    return 2 * common / (len(true) + len(found))


def question_answering(
    predictions: Sequence[str], answers: Sequence[Sequence[str]], *, language: Language = "en"
) -> dict[str, float]:
    """How well `predictions` answer, each judged by the nearest of its `answers`, in float64.

    A question without answers (or with empty ones alone) is answered rightly by "".
    - `exact_match`, `f1`: means over all questions.
    - `answerable_exact_match`, `answerable_f1`: over those with an answer.
    - `unanswerable_accuracy`: over those without, the share of empty predictions.

    Raises DataError where the lengths differ. NaN where there is no such question.
    """
    if len(predictions) != len(answers):
        raise DataError(
            540,
            f"{len(predictions)} predictions, {len(answers)} answers",
            fix="one each a question",
        )
    exact, overlap = np.zeros(len(answers)), np.zeros(len(answers))
    has = np.zeros(len(answers), bool)
    for i, (said, given) in enumerate(zip(predictions, answers, strict=True)):
        real = [one for one in given if normalise(one, language)]
        has[i] = bool(real)
        exact[i] = max(exact_match(one, said, language) for one in real or [""])
        overlap[i] = max(f1(one, said, language) for one in real or [""])
    return {
        "exact_match": _mean(exact),
        "f1": _mean(overlap),
        "answerable_exact_match": _mean(exact[has]),
        "answerable_f1": _mean(overlap[has]),
        "unanswerable_accuracy": _mean(exact[~has]),
    }


def _longest_run(a: Sequence[str], b: Sequence[str]) -> int:
    best, row = 0, [0] * (len(b) + 1)
    for one in a:
        row = [0, *(row[j] + 1 if one == other else 0 for j, other in enumerate(b))]
        best = max(best, *row)
    return best


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")

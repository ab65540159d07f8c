"""Answers to questions about pictures, in the form in which they are compared."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from mmjax.data.cells import clean_text

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
_FULL_STOP = re.compile(r"\.(?!\d)")
_ARTICLES = frozenset({"a", "an", "the"})
_DIGITS = {
    name: str(number)
    for number, name in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
} | {"none": "0"}
_CONTRACTIONS_RIGHT = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've
might've mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've
shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll
someone's something'd something'd've something'll that's there'd there'd've there're there's they'd
they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've
when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't
would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""


def _without_one(word: str) -> Iterable[str]:
    places = [i for i, character in enumerate(word) if character == "'"]
    return (word[:i] + word[i + 1 :] for i in places)


_CONTRACTIONS = {
    wrong: right for right in _CONTRACTIONS_RIGHT.split() for wrong in _without_one(right)
} | {"somebody'd": "somebodyd"}
"""By the word that lacks one of its apostrophes. The last is the wrong way round in the official
code too."""


def normalise_answer(text: str) -> str:
    """The answer in lower case, without articles and punctuation, with digits and apostrophes.

    As `processPunctuation` and `processDigitArticle` of the evaluation code of VQA (Antol et al.
    2015; Goyal et al. 2017): a mark becomes a blank, or nothing where the answer has it beside a
    blank or has a comma within a number; full stops go unless a digit follows; numbers to ten are
    digits, "none" is 0; contractions that lack an apostrophe get it.
    """
    text = clean_text(text).replace("\n", " ").replace("\t", " ").strip()
    number = _COMMA_IN_NUMBER.search(text) is not None
    plain = text
    for mark in _PUNCTUATION:
        beside_blank = f"{mark} " in text or f" {mark}" in text
        plain = plain.replace(mark, "" if beside_blank or number else " ")
    plain = _FULL_STOP.sub("", plain)
    words = (_DIGITS.get(word, word) for word in plain.lower().split())
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def commonest(answers: Iterable[str]) -> str:
    """The answer that most gave; of several, the one that came first."""
    return Counter(answers).most_common(1)[0][0]


def soft_score(count: float, annotators: int) -> float:
    """How right an answer is that `count` of the annotators gave: min(count / 3, 1).

    Where there are fewer than three annotators, their share.
    """
    return min(count / min(3, annotators), 1.0)


def leave_one_out(count: float, annotators: int) -> float:
    """The accuracy of an answer that `count` of the annotators gave, as VQA counts it.

    The mean, over the annotators, of min(n / 3, 1), where n of the *others* gave the answer: 0.3,
    0.6, 0.9 and 1 for one, two, three and four of ten. Where there are fewer than three others, of
    their share; of a single annotator, whether it is that answer.
    """
    if annotators == 1:
        return float(count)
    enough = min(3, annotators - 1)
    agrees = min((count - 1) / enough, 1.0) if count else 0.0
    return (count * agrees + (annotators - count) * min(count / enough, 1.0)) / annotators

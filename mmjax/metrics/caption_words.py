"""Words of a caption, as the evaluation code of COCO captions has them."""

from __future__ import annotations

import re

_REMOVED = frozenset(["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"])
"""What the reference leaves out: of brackets nothing, which it looks for in upper case."""
_BRACKETS = dict(zip("()[]{}", ["-lrb-", "-rrb-", "-lsb-", "-rsb-", "-lcb-", "-rcb-"], strict=True))
_PARTS = {
    "cannot": "can not", "gonna": "gon na", "gotta": "got ta", "wanna": "wan na",
    "gimme": "gim me", "lemme": "lem me",
}  # fmt: skip
_SHORT = """mr mrs ms dr prof st jr sr vs etc e.g i.e a.m p.m inc ltd co corp ave mt ft
jan feb mar apr jun jul aug sep sept oct nov dec"""
_ABBREVIATIONS = frozenset(f"{one}." for one in _SHORT.split())
_CURLY = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": "-", "…": "."})
_TOKEN = re.compile(
    r"""https?://\S+ | www\.\S+              # addresses
    | \d[\d.,:/]*\d(?:\w+)?                   # numbers, with what is written to them
    | (?:[^\W\d_]\.){2,}                      # u.s.
    | [@]?\w+(?:[-'&.@/]\w+)*                 # words, with what is within them
    | '\w+ | \.\.+ | [!?]+ | \S               # the rest
    """,
    re.VERBOSE,
)
_QUOTED = re.compile(r"^'(.+)'$")
_ENDING = re.compile(r"^(.+?)('s|'m|'d|'ll|'re|'ve|n't)$")


def caption_words(text: str) -> list[str]:
    """Lower-case words without punctuation, close to what Stanford's PTBTokenizer 3.4.1 makes.

    `pycocoevalcap` runs that one, with `-lowerCase`, in Java, and then leaves out marks of
    punctuation. Here too: contractions are two words ("ca n't", "man 's"), words with hyphens one,
    abbreviations keep their full stop, brackets become "-lrb-" and the like, and stay. Runs of
    "!" or "?" stay, as they do there. Addresses, fractions and rare abbreviations may differ.
    """
    found: list[str] = []
    for word in text.translate(_CURLY).lower().replace('"', " ").split():
        if word in _ABBREVIATIONS:
            found.append(word)
            continue
        for token in _TOKEN.findall(_QUOTED.sub(r"\1", word)):
            found += _split(token)
    return [one for one in found if one not in _REMOVED and set(one) != {"."}]


def _split(token: str) -> list[str]:
    if token in _BRACKETS:
        return [_BRACKETS[token]]
    if token in _PARTS:
        return _PARTS[token].split()
    parted = _ENDING.match(token)
    return [parted[1], parted[2]] if parted else [token]

"""What metrics of generated text share: their rows, n-grams, and how alike two sequences are."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Hashable, Sequence

from mmjax.core.errors import DataError

References = Sequence[Sequence[str]]
"""What each row could have said, one text or several."""


def checked(predictions: Sequence[str], references: Sequence[Sequence[str] | str]) -> References:
    """The references of each row, a single text as a list of one.

    Raises DataError where the rows do not pair up, or a row has no reference.
    """
    if isinstance(predictions, str) or len(predictions) != len(references):
        raise DataError(
            540,
            f"{len(predictions)} predictions, {len(references)} rows of references",
            fix="a list of texts, and for each a text or a list of texts",
        )
    lists = [[one] if isinstance(one, str) else list(one) for one in references]
    for row, one in enumerate(lists):
        if not one:
            raise DataError(
                540, "no reference", where=f"row {row}", fix="give one at least; it may be empty"
            )
    return lists


def ngrams(words: Sequence[Hashable], n: int) -> Counter[tuple[Hashable, ...]]:
    """How often each run of `n` words occurs."""
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def longest_common(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """The length of the longest common subsequence, by bits (Hyyrö 2004)."""
    places: dict[Hashable, int] = {}
    for i, one in enumerate(a):
        places[one] = places.get(one, 0) | 1 << i
    full = row = (1 << len(a)) - 1
    for one in b:
        hits = row & places.get(one, 0)
        row = ((row + hits) | (row - hits)) & full
    return len(a) - row.bit_count()


def edit_distance(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """Insertions, deletions and substitutions that make `b` of `a`, by bits (Myers 1999)."""
    if not a:
        return len(b)
    places: dict[Hashable, int] = {}
    for i, one in enumerate(a):
        places[one] = places.get(one, 0) | 1 << i
    full, last = (1 << len(a)) - 1, 1 << (len(a) - 1)
    up, down, distance = full, 0, len(a)
    for one in b:
        same = places.get(one, 0)
        vertical = same | down
        horizontal = (((same & up) + up) ^ up) | same
        more = down | (full & ~(horizontal | up))
        less = up & horizontal
        distance += bool(more & last) - bool(less & last)
        more, less = more << 1 | 1, less << 1
        up = (less | ~(vertical | more)) & full
        down = more & vertical & full
    return distance


def plain(text: str) -> str:
    """The text as exact match compares it: NFKC, case folded, single blanks."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def exact_match(predictions: Sequence[str], references: Sequence[Sequence[str] | str]) -> float:
    """The share of rows that say one of their references, as `plain` has both; NaN of no rows."""
    lists = checked(predictions, references)
    pairs = zip(predictions, lists, strict=True)
    hits = [plain(said) in {plain(one) for one in true} for said, true in pairs]
    return sum(hits) / len(hits) if hits else float("nan")

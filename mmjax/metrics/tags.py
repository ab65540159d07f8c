"""Tag sequences (B-PER, I-PER, O) to the entities that they say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from mmjax.core.errors import DataError
from mmjax.data.cells import shown

Scheme = Literal["IOB1", "IOB2", "IOE2", "IOBES", "BILOU"]
Entity = tuple[str, int, int]
"""Kind, first token, and one past the last."""

# Of two tags in a row, their letters (? is any) and whether their kinds are the same (=), different
# (!) or either (*): which make the second begin an entity, go on with it, and end it.
_STRICT: dict[str, tuple[str, str, str, str]] = {
    "IOB1": ("IOB", "OI* II! BI* IB= BB=", "BI= II=", "II! IO* IB* BO* BI! BB="),
    "IOB2": ("IOB", "?B*", "BI= II=", "IO* II! IB* BO* BI! BB*"),
    "IOE2": ("IOE", "OI* OE* EI* EE* II! IE!", "IE= II=", "E?*"),
    "IOBES": ("IOBES", "?B* ?S*", "BI= BE= II= IE=", "S?* E?*"),
    "BILOU": ("IOBLU", "?B* ?U*", "BI= BL= II= IL=", "U?* L?*"),
}


def entities_of(tags: Sequence[str], scheme: Scheme | None = None) -> list[Entity]:
    """The entities of one sequence of tags, as seqeval 1.2.2 reads them.

    Without a scheme as conlleval does: a tag that goes on with nothing begins an entity. With one,
    strictly: an entity must begin, go on and end as the scheme has it, or is none. Raises DataError
    for what is no tag, and for a letter that is not the scheme's.
    """
    split = [_split(tag) for tag in tags]
    return _by_conlleval(split) if scheme is None else _by_scheme(split, scheme)


def _split(tag: str) -> tuple[str, str]:
    if tag == "O":
        return "O", "_"
    letter, kind = tag[:1], tag[1:].removeprefix("-")
    if letter not in tuple("BIESLU") or (len(tag) > 1 and tag[1] != "-"):
        raise DataError(541, f"'{shown(tag)}' is no tag", fix="such as B-PER, I-PER or O")
    return letter, kind or "_"


def _by_conlleval(tags: Sequence[tuple[str, str]]) -> list[Entity]:
    found: list[Entity] = []
    first = 0
    letter, kind = "O", ""
    for i, (now, kind_now) in enumerate([*tags, ("O", "_")]):
        pair = letter + now
        other = kind != kind_now
        ended = letter in "ES" or pair in ("BB", "BS", "BO", "IB", "IS", "IO")
        if ended or (letter != "O" and other):
            found.append((kind, first, i))
        if now in "BS" or pair in ("EE", "EI", "SE", "SI", "OE", "OI") or (now != "O" and other):
            first = i
        letter, kind = now, kind_now
    return found


def _by_scheme(tags: Sequence[tuple[str, str]], scheme: Scheme) -> list[Entity]:
    letters, starts, goes_on, ends = _STRICT[scheme]
    for letter, _ in tags:
        if letter not in letters:
            raise DataError(541, f"'{letter}-' is no tag of {scheme}", fix=f"of {letters}")
    extended = [*tags, ("O", "_")]
    found: list[Entity] = []
    before, i = ("O", "_"), 0
    while i < len(extended):
        if _matches(starts, before, extended[i]):
            end = i + 1
            while end < len(extended) and _matches(goes_on, extended[end - 1], extended[end]):
                end += 1
            if _matches(ends, extended[end - 1], extended[end]):
                found.append((extended[i][1], i, end))
            i = end
        else:
            i += 1
        before = extended[i - 1]
    return found


def _matches(patterns: str, before: tuple[str, str], now: tuple[str, str]) -> bool:
    same = before[1] == now[1]
    return any(
        one[0] in ("?", before[0]) and one[1] in ("?", now[0]) and one[2] in ("*", "!="[same])
        for one in patterns.split()
    )

"""Marks that are written into a text around parts of it, and the way back to its characters."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from mmjax.core.typing import Int

Part = tuple[int, int, str, str]
"""Half-open characters of a text, and what is written before and after them."""


@dataclasses.dataclass(frozen=True)
class Marked:
    """A text with marks, and of each of its characters where it was, or whose mark it is of."""

    text: str
    parts: tuple[Part, ...] = ()
    origin: Int[np.ndarray, "n"] | None = None
    """The character's place before, or -1 - k in a mark of the part k; None without marks."""

    def back(self, first: int, last: int) -> tuple[int, int]:
        """The range of the text without marks that a range of this one is of.

        That of the whole part for what holds nothing but its marks: so a token that is a mark is
        read as one of the part, and the mark before it as the first.
        """
        if self.origin is None:
            return first, last
        places = self.origin[first:last]
        own = places[places >= 0]
        if len(own):
            return int(own.min()), int(own.max()) + 1
        if not len(places):
            return 0, 0
        start, end, *_ = self.parts[-1 - int(places[0])]
        return start, end


def marked(text: str, parts: Sequence[Part]) -> Marked:
    """The text with each part's marks around it, blanks between; parts may lie in each other.

    Of what begins at one place the longer part is marked first, of what ends there the shorter; a
    part that reaches beyond the text ends with it, and one that begins beyond is left out.
    """
    if not parts:
        return Marked(text)
    kept = [(start, min(end, len(text)), a, b) for start, end, a, b in parts if start < len(text)]
    # Place, what ends before what begins, the inner one of those that end, and the mark.
    events = [(start, 1, -end, k, before + " ") for k, (start, end, before, _) in enumerate(kept)]
    events += [(end, 0, -start, k, " " + after) for k, (start, end, _, after) in enumerate(kept)]
    pieces: list[str] = []
    origin: list[int] = []
    done = 0
    for place, _, _, part, mark in sorted(events):
        pieces += [text[done:place], mark]
        origin += [*range(done, place), *[-1 - part] * len(mark)]
        done = place
    pieces.append(text[done:])
    origin += range(done, len(text))
    return Marked("".join(pieces), tuple(kept), np.array(origin, np.int64))

"""Which ids of a vocabulary begin a word."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from mmjax.core.typing import Bool

_PREFIXES = {"##": False, "\u0120": True, "\u2581": True}
"""How pieces are marked by WordPiece, byte-level BPE and SentencePiece, and whether the mark is on
those that begin a word."""
_END = "</w>"


def word_starts(pieces: Sequence[str], special: Collection[int] = ()) -> str | None:
    """The ids whose piece begins a word, packed into a string; special ones all do.

    Told from the mark that most pieces bear: "##" is on those that go on, "\u0120" and "\u2581" on
    those that begin. None where there is no such mark, or one at the end of words (CLIP's).
    """
    counts = {mark: sum(piece.startswith(mark) for piece in pieces) for mark in _PREFIXES}
    counts[_END] = sum(piece.endswith(_END) for piece in pieces)
    mark = max(counts, key=lambda mark: counts[mark])
    if not counts[mark] or mark == _END:
        return None
    starts = np.array([piece.startswith(mark) == _PREFIXES[mark] for piece in pieces], bool)
    starts[list(special)] = True
    return np.packbits(starts).tobytes().hex()


def unpack(starts: str, vocab_size: int) -> Bool[np.ndarray, "v"]:
    """What `word_starts` packed, one flag an id; ids that it did not know of begin a word."""
    known = np.unpackbits(np.frombuffer(bytes.fromhex(starts), np.uint8)).astype(bool)
    flags = np.ones(vocab_size, bool)
    flags[: min(len(known), vocab_size)] = known[:vocab_size]
    return flags

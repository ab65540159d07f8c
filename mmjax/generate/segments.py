"""What the times among Whisper's tokens say: segments, and where the next window begins."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import NamedTuple


class TimedTokens(NamedTuple):
    """Tokens between two times, both of them included where they are there; in time steps."""

    start: int
    stop: int
    tokens: tuple[int, ...]


def segments_of(
    tokens: Sequence[int], first: int, steps: int
) -> tuple[list[TimedTokens], int | None]:
    """The segments of a window, and how many steps behind its start the next window begins; None
    where it begins behind this one.

    `tokens` are those of the window without the end, `first` is the id of time 0, `steps` is how
    many the window has. Two times in a row end one segment and begin the next; what stands behind
    the last such pair is left to the next window, unless a single time ends it. As
    `WhisperForConditionalGeneration._retrieve_segment` (transformers 4.57).
    """
    times = [token >= first for token in tokens]
    cuts = [i + 1 for i in range(len(tokens) - 1) if times[i] and times[i + 1]]
    ends_once = times[-2:] == [False, True]
    if not cuts:
        said = [token - first for token in tokens if token >= first]
        stop = said[-1] if said and said[-1] else steps
        return [TimedTokens(0, stop, tuple(tokens))], None
    if ends_once:
        cuts.append(len(tokens))
    else:
        # The last segment keeps both times, which tells it from one that a single time ends.
        cuts[-1] += 1
    found, start = [], 0
    for cut in cuts:
        part = tuple(tokens[start:cut])
        last = part[-1 if cut != cuts[-1] or ends_once else -2]
        found.append(TimedTokens(part[0] - first, last - first, part))
        start = cut
    return found, None if ends_once else tokens[start - 2] - first


def compression_ratio(tokens: Sequence[int], vocabulary: int) -> float:
    """How much smaller zlib makes the ids: texts that repeat themselves have a high one.

    As `WhisperForConditionalGeneration._retrieve_compression_ratio`. 0 for no tokens.
    """
    size = int(math.log2(vocabulary) / 8) + 1
    raw = b"".join(int(token).to_bytes(size, "little") for token in tokens)
    return len(raw) / len(zlib.compress(raw))


def prompt_of(
    previous: Sequence[Sequence[int]], first: int, most: int, beginning: int | None
) -> list[int]:
    """What a window is told of the segments before it: the last `most` ids, `beginning` before."""
    said: list[int] = []
    for tokens in previous:
        twice = len(tokens) > 2 and tokens[-2] >= first
        said += tokens[:-1] if twice else tokens
    return ([] if beginning is None else [beginning]) + said[-most:]

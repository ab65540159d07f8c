"""Several short things in one row of a fixed length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmjax.core.typing import Int

_OPEN = 64
"""Bins that a thing is tried in; older ones are nearly full."""


def first_fit(
    lengths: Sequence[int] | Int[np.ndarray, "n"], capacity: int, most: int
) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "bins_1"]]:
    """Bins of things in their order, each in the first open bin that has room (Johnson 1973).

    Returns the things bin by bin, and where each bin starts among them. A bin holds at most
    `capacity` of length and `most` things; things of length 0 are in none, longer ones are alone.
    A function of the arguments, with 64 bins open at a time.
    """
    bins: list[list[int]] = []
    first, room = 0, np.zeros(0, np.int64)
    for thing, length in enumerate(np.asarray(lengths).tolist()):
        if not length:
            continue
        fits = np.flatnonzero(room >= length)
        if len(fits):
            place = int(fits[0])
        else:
            bins.append([])
            room = np.append(room, capacity)
            if len(room) > _OPEN:
                first, room = first + 1, room[1:]
            place = len(room) - 1
        bins[first + place].append(thing)
        room[place] -= length
        if len(bins[first + place]) >= most:
            room[place] = 0
    starts = np.cumsum([0, *map(len, bins)])
    return np.array([thing for one in bins for thing in one], np.int64), starts

"""Connectionist temporal classification: what a path of labels says, and the likeliest texts."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from mmjax.core.typing import Array, Bool, Float, Int


def collapse(
    path: Int[Array, "b t"], mask: Bool[Array, "b t"], *, blank: int
) -> tuple[Int[Array, "b t"], Int[Array, "b"]]:
    """What a path of frames says: repeats are one, blanks and frames outside `mask` nothing.

    Returns the labels, `blank` behind them, and how many they are (Graves et al. 2006, B).
    """
    before = jnp.pad(path[:, :-1], ((0, 0), (1, 0)), constant_values=blank)
    keep = mask & (path != blank) & (path != before)
    order = jnp.argsort(~keep, axis=1, stable=True)
    said = jnp.take_along_axis(jnp.where(keep, path, blank), order, axis=1)
    return said, keep.sum(axis=1)


def frames_needed(labels: Int[Array, "b n"], mask: Bool[Array, "b n"]) -> Int[Array, "b"]:
    """How many frames a text takes at least: one a label, and one between two equal ones."""
    same = (labels[:, 1:] == labels[:, :-1]) & mask[:, 1:] & mask[:, :-1]
    return mask.sum(axis=1) + same.sum(axis=1)


def prefix_beam(
    log_probabilities: Float[np.ndarray, "t v"], *, beams: int, blank: int
) -> list[tuple[tuple[int, ...], float]]:
    """The likeliest texts and the logarithms of their probabilities, the best first.

    A prefix has the probability of all its paths, those that end in a blank apart from the others,
    and `beams` prefixes go on from each frame (Hannun et al. 2014, algorithm 1, without a language
    model). With enough beams the probabilities are exact.
    """
    nothing = -np.inf
    going: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, nothing)}
    for frame in np.asarray(log_probabilities, np.float64):
        found: dict[tuple[int, ...], list[float]] = defaultdict(lambda: [nothing, nothing])
        # Of one prefix, only so many labels can be among the best that go on.
        likely = np.argsort(-frame, kind="stable")[: beams + 1].tolist()
        labels = [one for one in likely if one != blank]
        for prefix, (blank_end, label_end) in going.items():
            whole = np.logaddexp(blank_end, label_end)
            own = found[prefix]
            own[0] = np.logaddexp(own[0], whole + frame[blank])
            if prefix:
                own[1] = np.logaddexp(own[1], label_end + frame[prefix[-1]])
            for label in labels:
                repeated = bool(prefix) and label == prefix[-1]
                start = blank_end if repeated else whole
                longer = found[(*prefix, label)]
                longer[1] = np.logaddexp(longer[1], start + frame[label])
        possible = [(prefix, ends) for prefix, ends in found.items() if max(ends) > nothing]
        best = heapq.nlargest(beams, possible, key=lambda one: np.logaddexp(one[1][0], one[1][1]))
        going = {prefix: (ends[0], ends[1]) for prefix, ends in best}
    scored = [(prefix, float(np.logaddexp(a, b))) for prefix, (a, b) in going.items()]
    return sorted(scored, key=lambda one: -one[1])


def best_texts(
    log_probabilities: Float[np.ndarray, "b t v"], frames: Sequence[int], *, beams: int, blank: int
) -> list[tuple[tuple[int, ...], float]]:
    """The first of `prefix_beam` for each row, of which the first `frames` count."""
    return [
        prefix_beam(row[:count], beams=beams, blank=blank)[0]
        for row, count in zip(log_probabilities, frames, strict=True)
    ]

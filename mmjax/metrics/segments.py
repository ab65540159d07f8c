"""How well labelled segments of time are found: step by step, in their order, and by overlap."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from mmjax.core.errors import DataError
from mmjax.core.typing import Bool, Int

OVERLAPS = (0.1, 0.25, 0.5)


class Segment(NamedTuple):
    """What is called `label` from `start` to before `end`, in steps or in seconds."""

    start: float
    end: float
    label: int


def runs(labels: Int[np.ndarray, "n"], background: int | None = None) -> list[Segment]:
    """The longest runs of one label, in their order; those of `background` are none."""
    labels = np.asarray(labels)
    if not len(labels):
        return []
    edges = np.flatnonzero(labels[1:] != labels[:-1]) + 1
    bounds = [0, *edges.tolist(), len(labels)]
    found = [Segment(start, end, int(labels[start])) for start, end in pairwise(bounds)]
    return [one for one in found if one.label != background]


def edit_score(truth: Sequence[int], predicted: Sequence[int]) -> float:
    """1 - Levenshtein distance over the longer length, of two sequences of labels; 1 if both are
    empty (Lea et al. 2016, "Learning convolutional action primitives").
    """
    longer = max(len(truth), len(predicted))
    if not longer:
        return 1.0
    row = list(range(len(truth) + 1))
    for i, said in enumerate(predicted, start=1):
        before, row[0] = row[0], i
        for j, true in enumerate(truth, start=1):
            best = before if said == true else 1 + min(before, row[j], row[j - 1])
            before, row[j] = row[j], best
    return 1.0 - row[-1] / longer


def count_matches(
    truth: Sequence[Segment], predicted: Sequence[Segment], overlap: float
) -> tuple[int, int, int]:
    """Right, false and missed segments at an intersection over union of `overlap` or more.

    Each predicted segment, in order, is held against the true one of its label that it overlaps
    most (the first of equals), which only the first to reach it finds. The union is what lies
    between the first start and the last end, as the reference of MS-TCN has it.
    """
    taken: set[int] = set()
    for one in predicted:
        best, which = 0.0, -1
        for index, other in enumerate(truth):
            shared = min(one.end, other.end) - max(one.start, other.start)
            share = shared / (max(one.end, other.end) - min(one.start, other.start))
            if other.label == one.label and share > best:
                best, which = share, index
        if which >= 0 and best >= overlap and which not in taken:
            taken.add(which)
    right = len(taken)
    return right, len(predicted) - right, len(truth) - right


def segments(
    truth: Sequence[Int[np.ndarray, "n"]],
    predicted: Sequence[Int[np.ndarray, "n"]],
    *,
    background: int | None = None,
    overlaps: Sequence[float] = OVERLAPS,
) -> dict[str, float]:
    """Metrics of action segmentation over sequences of one label a step.

    - `accuracy`: steps that are right, of all sequences together, those of `background` too.
    - `edit`: the mean over sequences of `edit_score` of their segments' labels.
    - `f1@10`, ...: F1 of segments that overlap a true one of their label by that many percent,
      counted over all sequences; 0 where nothing is right.

    Agrees with `eval.py` of MS-TCN (Farha and Gall 2019), whose numbers are percent, where that is
    defined. NaN without a step or a sequence. Raises DataError for sequences of unequal length.
    """
    check_pairs(truth, predicted)
    steps = sum(len(one) for one in truth)
    hits = sum(int(np.sum(np.asarray(a) == np.asarray(b))) for a, b in _pairs(truth, predicted))
    pairs = [(runs(a, background), runs(b, background)) for a, b in _pairs(truth, predicted)]
    edits = [edit_score([s.label for s in a], [s.label for s in b]) for a, b in pairs]
    return {
        "accuracy": hits / steps if steps else float("nan"),
        "edit": float(np.mean(edits)) if edits else float("nan"),
        **segment_f1(pairs, overlaps),
    }


def segment_f1(
    pairs: Sequence[tuple[Sequence[Segment], Sequence[Segment]]],
    overlaps: Sequence[float] = OVERLAPS,
) -> dict[str, float]:
    """`f1@<percent>` of true and predicted segments, counted over all pairs."""
    found = {}
    for overlap in overlaps:
        counts = np.array([count_matches(a, b, overlap) for a, b in pairs]).reshape(-1, 3)
        right, false, missed = counts.sum(axis=0).tolist()
        whole = 2 * right + false + missed
        found[f"f1@{round(100 * overlap)}"] = 2 * right / whole if whole else 0.0
    return found


def label_segments(
    truth: Sequence[Bool[np.ndarray, "n v"]],
    predicted: Sequence[Bool[np.ndarray, "n v"]],
    *,
    overlaps: Sequence[float] = OVERLAPS,
) -> dict[str, float]:
    """`segment_f1` over sequences of any number of labels a step: each label has its own runs."""
    check_pairs(truth, predicted)
    tracks = [
        tuple([run._replace(label=v) for run in runs(one[:, v].astype(int), 0)] for one in (a, b))
        for a, b in _pairs(truth, predicted)
        for v in range(np.shape(a)[1])
    ]
    return segment_f1([(a, b) for a, b in tracks], overlaps)


def event_f1(
    truth: Sequence[Sequence[Segment]],
    predicted: Sequence[Sequence[Segment]],
    *,
    collar: float = 0.2,
    share: float = 0.2,
) -> float:
    """F1 of sound events whose onset is within `collar` seconds of the true one, and whose end is
    within that or `share` of the true length, whichever is more (Mesaros et al. 2016).

    Of the ways to pair events of one label one to one, that of the most pairs counts. 0 if no event
    is right.
    """
    right = 0
    for true, said in zip(truth, predicted, strict=True):
        if not len(true) or not len(said):
            continue
        a, b = (np.array([list(one) for one in some], np.float64) for some in (true, said))
        late = np.maximum(collar, share * (a[:, 1] - a[:, 0]))[:, None]
        good = np.abs(a[:, None, 0] - b[None, :, 0]) <= collar
        good &= np.abs(a[:, None, 1] - b[None, :, 1]) <= late
        good &= a[:, None, 2] == b[None, :, 2]
        right += int(good[linear_sum_assignment(good, maximize=True)].sum())
    whole = sum(map(len, truth)) + sum(map(len, predicted))
    return 2 * right / whole if whole else 0.0


def check_pairs(truth: Sequence[np.ndarray], predicted: Sequence[np.ndarray]) -> None:
    """Raises DataError unless there are as many sequences of each, of the same shapes."""
    if len(truth) != len(predicted):
        raise DataError(
            540, f"{len(predicted)} sequences for {len(truth)} true ones", fix="give one for each"
        )
    for i, (a, b) in enumerate(_pairs(truth, predicted)):
        if np.shape(a) != np.shape(b):
            raise DataError(
                540,
                f"{list(np.shape(b))} predicted for {list(np.shape(a))} true ones",
                where=f"sequence {i}",
                fix="give a label for each step",
            )


def _pairs(
    truth: Sequence[np.ndarray], predicted: Sequence[np.ndarray]
) -> zip[tuple[np.ndarray, np.ndarray]]:
    return zip(truth, predicted, strict=True)

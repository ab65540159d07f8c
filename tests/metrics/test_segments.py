"""Segments: against what MS-TCN's eval.py counts, written anew here, and by hand at the edges."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from mmjax.core.errors import DataError
from mmjax.metrics import segments
from mmjax.metrics.segments import Segment, edit_score, event_f1, label_segments, runs

RNG = np.random.default_rng(0)


def _sequence(length, labels=4, mean_run=4):
    found = []
    while len(found) < length:
        found += [int(RNG.integers(labels))] * int(RNG.integers(1, 2 * mean_run))
    return np.array(found[:length])


def _bounds(labels):
    """`get_labels_start_end_time` of the reference, with background 0."""
    names, starts, ends, last = [], [], [], 0
    for i, label in enumerate([*labels, 0]):
        if label != last:
            if last != 0:
                ends.append(i)
            if label != 0:
                names.append(label)
                starts.append(i)
            last = label
    return names, np.array(starts), np.array(ends)


def _levenshtein(p, y):
    table = np.zeros((len(p) + 1, len(y) + 1))
    table[:, 0], table[0] = np.arange(len(p) + 1), np.arange(len(y) + 1)
    for i, j in itertools.product(range(1, len(p) + 1), range(1, len(y) + 1)):
        same = table[i - 1, j - 1] + (p[i - 1] != y[j - 1])
        table[i, j] = min(same, table[i - 1, j] + 1, table[i, j - 1] + 1)
    return 1 - table[-1, -1] / max(len(p), len(y))


def _f_score(said, true, overlap):
    p_label, p_start, p_end = _bounds(said)
    y_label, y_start, y_end = _bounds(true)
    hits = np.zeros(len(y_label))
    right = 0
    for j, label in enumerate(p_label):
        shared = np.minimum(p_end[j], y_end) - np.maximum(p_start[j], y_start)
        union = np.maximum(p_end[j], y_end) - np.minimum(p_start[j], y_start)
        share = shared / union * (np.array(y_label) == label)
        best = share.argmax()
        if share[best] >= overlap and not hits[best]:
            right += 1
            hits[best] = 1
    return right, len(p_label) - right, len(y_label) - right


def test_agrees_with_the_reference_on_random_sequences():
    true = [_sequence(n) for n in (40, 7, 90, 25)]
    said = [np.where(RNG.random(len(t)) < 0.15, _sequence(len(t)), t) for t in true]
    found = segments(true, said, background=0)
    right = np.concatenate(true) == np.concatenate(said)
    edits = [_levenshtein(_bounds(s)[0], _bounds(t)[0]) for t, s in zip(true, said, strict=True)]
    wanted = {"accuracy": right.mean(), "edit": np.mean(edits)}
    for percent in (10, 25, 50):
        counts = [_f_score(s, t, percent / 100) for t, s in zip(true, said, strict=True)]
        hits, false, missed = np.sum(counts, axis=0)
        precision, recall = hits / (hits + false), hits / (hits + missed)
        wanted[f"f1@{percent}"] = 2 * precision * recall / (precision + recall)
    assert found == pytest.approx(wanted)
    assert 0 < found["f1@50"] < found["f1@10"]


def test_edges():
    nothing = np.zeros(5, int)
    empty = segments([nothing], [nothing], background=0)
    assert empty == {"accuracy": 1.0, "edit": 1.0, "f1@10": 0.0, "f1@25": 0.0, "f1@50": 0.0}
    missed = segments([np.ones(5, int)], [nothing], background=0)
    assert (missed["edit"], missed["f1@10"]) == (0.0, 0.0)
    same = segments([_sequence(9)] * 2, [np.zeros(9, int)] * 2)
    assert same["accuracy"] < 1
    none = segments([], [])
    assert math.isnan(none["accuracy"])
    assert math.isnan(segments([np.zeros(0, int)], [np.zeros(0, int)])["accuracy"])
    assert runs(np.array([2, 2, 0, 1]), 0) == [(0, 2, 2), (3, 4, 1)]
    assert edit_score([], []) == 1.0
    with pytest.raises(DataError, match="sequence 0"):
        segments([nothing], [nothing[:2]])
    with pytest.raises(DataError, match="1 sequences for 2"):
        segments([nothing] * 2, [nothing])


def test_only_the_first_of_two_halves_finds_a_segment():
    true = np.array([0, 1, 1, 1, 1, 0])
    halves = np.array([0, 1, 1, 0, 1, 0])
    found = segments([true], [halves], background=0)
    assert found["f1@50"] == pytest.approx(2 / 3)


def test_each_label_has_segments_of_its_own():
    true = [RNG.random((30, 3)) < 0.5 for _ in range(2)]
    said = [t ^ (RNG.random(t.shape) < 0.1) for t in true]
    counts = [
        _f_score(s[:, v].astype(int), t[:, v].astype(int), 0.25)
        for t, s in zip(true, said, strict=True)
        for v in range(3)
    ]
    hits, false, missed = np.sum(counts, axis=0)
    assert label_segments(true, said)["f1@25"] == pytest.approx(
        2 * hits / (2 * hits + false + missed)
    )


def test_events_pair_up_in_the_best_way():
    total, right = 0, 0
    true, said = [], []
    for _ in range(12):
        rows = [
            [
                Segment(float(a), float(a + RNG.uniform(0.1, 2)), int(RNG.integers(2)))
                for a in RNG.uniform(0, 1, int(RNG.integers(0, 5)))
            ]
            for _ in range(2)
        ]
        true.append(rows[0])
        said.append(rows[1])
        total += len(rows[0]) + len(rows[1])
        few, many = sorted(rows, key=len)
        good = {
            (a, b)
            for a, b in itertools.product(*rows)
            if a.label == b.label
            and abs(a.start - b.start) <= 0.3
            and abs(a.end - b.end) <= max(0.3, 0.5 * (a.end - a.start))
        }
        good |= {(b, a) for a, b in good}
        right += max(
            sum(pair in good for pair in zip(few, order, strict=False))
            for order in itertools.permutations(many)
        )
    assert event_f1(true, said, collar=0.3, share=0.5) == pytest.approx(2 * right / total)
    assert right > 3
    assert event_f1([[]], [[]]) == 0.0

"""Triggers and arguments, counted by hand, and as sums over shards."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import f1_score

from mmjax.metrics import events
from mmjax.metrics.events import event_sums, events_from_sums

NAMES = {"type_names": ("go", "meet"), "role_names": ("by", "to")}


def _rows(rows, width, most=4):
    found = np.full((len(rows), most, width), -1, np.int32)
    for i, row in enumerate(rows):
        for j, one in enumerate(row):
            found[i, j] = one
    return found


# One event of two arguments, then two events of one type that share an argument.
TRUE = (
    _rows([[(0, 2, 0)], [(0, 2, 1), (3, 5, 1)], []], 3),
    _rows(
        [[(5, 7, 0, 2, 0, 0), (8, 9, 0, 2, 0, 1)], [(6, 8, 0, 2, 1, 0), (6, 8, 3, 5, 1, 0)], []], 6
    ),
)
SAID = (
    _rows([[(0, 2, 1)], [(0, 2, 1)], [(0, 2, 0)]], 3),
    _rows([[(5, 7, 0, 2, 1, 0)], [(6, 8, 0, 2, 1, 1)], [(5, 7, 0, 2, 0, 0)]], 6),
)


def test_counts_by_hand():
    found = events(TRUE, SAID, **NAMES)
    # Identified: 2 of 3 that are said, of 3 there are; with their types, 1.
    assert found["trigger_identification_precision"] == pytest.approx(2 / 3)
    assert found["trigger_f1"] == pytest.approx(1 / 3)
    # The shared argument is one, since both events are of one type.
    assert found["argument_identification_recall"] == pytest.approx(1 / 3)
    assert found["argument_identification_precision"] == pytest.approx(1 / 3)
    assert found["argument_f1"] == 0.0
    assert found["trigger_f1/meet"] == pytest.approx(2 * 1 / (2 + 2))
    assert found["argument_support/by"] == 2
    whole = events(TRUE, TRUE, **NAMES)
    assert whole["argument_f1"] == whole["trigger_f1"] == 1.0
    nothing = (np.full((3, 4, 3), -1), np.full((3, 4, 6), -1))
    empty = events(TRUE, nothing, **NAMES)
    assert empty["trigger_f1"] == empty["argument_precision"] == 0.0
    assert set(events(nothing, nothing, **NAMES)) == set(found)


def test_trigger_scores_are_those_of_multi_label_f1():
    cells = {"true": TRUE[0], "said": SAID[0]}
    spots = sorted({(r, *one) for some in cells.values() for r, row in enumerate(some.tolist())
                    for one in row if one[0] >= 0})  # fmt: skip
    yes = [[[*s[1:]] in some[s[0]].tolist() for s in spots] for some in cells.values()]
    found = events(TRUE, SAID, **NAMES)
    assert found["trigger_f1"] == pytest.approx(f1_score(*yes))


def test_sums_over_uneven_shards_give_the_same():
    function = jax.jit(lambda true, said, rows: event_sums(true, said, 2, 2, rows))
    total = {}
    for part, rows in (([0, 1], [True, True]), ([2, 0], [True, False])):
        pick = lambda some, part=part: tuple(jnp.asarray(one[part]) for one in some)  # noqa: E731
        for name, value in function(pick(TRUE), pick(SAID), jnp.asarray(rows)).items():
            total[name] = total.get(name, 0) + np.asarray(value, np.float64)
    assert events_from_sums(total, **NAMES) == pytest.approx(events(TRUE, SAID, **NAMES))

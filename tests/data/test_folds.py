"""Folds against what they promise, and scikit-learn's for the evenness of the classes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import StratifiedKFold

from mmjax.core.errors import ConfigError, DataError
from mmjax.core.registry import Spec
from mmjax.data.config import SplitConfig, targets
from mmjax.data.folds import folds
from mmjax.data.manifest import read

LABEL = {"label": targets.build(Spec("category", column="kind"))}


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    kinds = rng.choice(["a", "b", "c"], 97, p=[0.6, 0.3, 0.1])
    return read(pd.DataFrame({"kind": kinds, "who": rng.integers(0, 23, 97).astype(str)}))


def test_each_row_is_held_out_once_and_classes_are_even(table):
    rows = np.arange(3, 97)
    found = folds(table, rows, SplitConfig(), LABEL, count=5, validation=0.2)
    held = np.concatenate([one["test"] for one in found])
    np.testing.assert_array_equal(np.sort(held), rows)
    kinds = np.array(table.column("kind"))
    theirs = [held for _, held in StratifiedKFold(5).split(rows, kinds[rows])]
    for one in found:
        np.testing.assert_array_equal(np.sort(np.concatenate(list(one.values()))), rows)
        assert abs(len(one["validation"]) - 0.2 * (len(rows) - len(one["test"]))) <= 2
    for kind in "abc":
        ours = [int((kinds[one["test"]] == kind).sum()) for one in found]
        expected = [int((kinds[rows][held] == kind).sum()) for held in theirs]
        assert sorted(ours) == sorted(expected)
    chosen = [set(one["validation"]) for one in found[:2]]
    assert len(chosen[0] & chosen[1]) < 0.6 * len(chosen[0])


def test_groups_stay_together_and_the_seed_decides(table):
    rows = np.arange(97)
    by = SplitConfig(group="who", seed=3)
    found = folds(table, rows, by, LABEL, count=4, validation=0.25)
    who = np.array(table.column("who"))
    for one in found:
        parts = [set(who[held]) for held in one.values()]
        assert sum(map(len, parts)) == len(set.union(*parts))
    again = folds(table, rows, by, LABEL, count=4, validation=0.25)
    other = folds(table, rows, SplitConfig(group="who", seed=4), LABEL, count=4)
    assert all(np.array_equal(a["test"], b["test"]) for a, b in zip(found, again, strict=True))
    assert not all(np.array_equal(a["test"], b["test"]) for a, b in zip(found, other, strict=True))
    assert list(other[0]) == ["train", "test"]


def test_too_few_are_refused(table):
    with pytest.raises(ConfigError, match="folds = 1"):
        folds(table, np.arange(9), SplitConfig(), LABEL, count=1)
    with pytest.raises(DataError, match=r"is empty.*too few for 5 folds"):
        folds(table, np.arange(4), SplitConfig(), {}, count=5)

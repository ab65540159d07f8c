"""Groups of rows beside pandas, SciPy's bootstrap and an exact count of all deals."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mmjax.core.errors import DataError
from mmjax.metrics.subgroups import compare


def test_groups_have_the_means_and_intervals_of_their_rows():
    rng = np.random.default_rng(0)
    names = rng.choice(["a", "b", "c"], 300).tolist()
    values = rng.normal(size=300) + [0.5 * (one == "b") for one in names]
    found = compare(values, [*names[:-3], None, "few", "few"])
    frame = pd.DataFrame({"name": names[:-3], "value": values[:-3]}).groupby("name")["value"]
    means = frame.mean().sort_values(ascending=False)
    assert [one.name for one in found.groups] == list(means.index)
    np.testing.assert_allclose([one.mean for one in found.groups], means)
    assert [one.rows for one in found.groups] == [frame.count()[one] for one in means.index]
    assert found.gap == pytest.approx(means.iloc[0] - means.iloc[-1])
    for one in found.groups:
        own = frame.get_group(one.name).to_numpy()
        said = stats.bootstrap((own,), np.mean, n_resamples=4000, method="percentile", rng=0)
        np.testing.assert_allclose(one.interval, said.confidence_interval, atol=0.03)
    two = (frame.get_group(means.index[0]), frame.get_group(means.index[-1]))
    said = stats.bootstrap(
        two, lambda x, y, axis: x.mean(axis) - y.mean(axis), method="percentile", rng=0
    )
    np.testing.assert_allclose(found.interval, said.confidence_interval, atol=0.04)


def test_chance_is_the_share_of_deals_that_are_as_far_apart():
    values = np.array([1.0, 1, 1, 0, 1, 0, 0, 0, 1])
    names = ["a"] * 3 + ["b"] * 3 + ["c"] * 3
    found = compare(values, names, least=3)
    gaps = []
    for a in itertools.combinations(range(9), 3):
        rest = [i for i in range(9) if i not in a]
        for b in itertools.combinations(rest, 3):
            c = [i for i in rest if i not in b]
            means = [values[list(one)].mean() for one in (a, b, c)]
            gaps.append(max(means) - min(means) >= found.gap - 1e-9)
    assert found.chance == pytest.approx(np.mean(gaps), abs=0.05)


def test_nothing_to_compare_and_wrong_values():
    assert compare(np.ones(10), ["a"] * 10) is None
    assert compare(np.ones(10), ["a"] * 6 + ["b"] * 4) is None
    assert compare(np.ones(10), [None] * 10) is None
    with pytest.raises(DataError, match="MMX-540"):
        compare(np.array([1.0, np.nan]), ["a", "b"])

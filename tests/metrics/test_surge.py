"""Sentiment over time against SciPy and a closed form."""

from __future__ import annotations

import datetime

import numpy as np
import pytest
import scipy.stats

from mmjax.core.errors import ConfigError, DataError
from mmjax.metrics.surge import surges

START = datetime.date(2024, 2, 20)


def steady(days=20, surge=()):
    """A day has one bad and one good piece of news, on days of a surge five bad ones more."""
    days = range(days)
    rows = [(START + datetime.timedelta(days=day), score) for day in days for score in (-1.0, 2.0)]
    rows += [(START + datetime.timedelta(days=day), -2.0) for day in surge for _ in range(5)]
    return [one.isoformat() for one, _ in rows], [score for _, score in rows]


def test_an_even_flow_raises_no_alarm():
    found = surges(*steady(), window=4, reference=8)
    assert len(found) == 20
    assert found[10]["time"] == "2024-03-01"  # 2024 has a 29 February
    assert [one["topic"] for one in found[:2]] == ["all", "all"]
    last = found[-1]
    assert (last["count"], last["negative"], last["mean"], last["trend"]) == (2, 1, 0.5, 0.5)
    assert last["expected"] == 4.0
    assert last["slope"] == pytest.approx(0.0)
    # Four of twelve news in a third of the time, and more.
    assert last["p"] == pytest.approx(scipy.stats.binom.sf(3, 12, 4 / 12))
    assert not any(one["alarm"] for one in found)
    assert (found[3]["expected"], found[3]["p"]) == (None, 1.0)


def test_a_surge_is_told_when_it_comes_and_by_its_topic():
    days, scores = steady(surge=(15, 16))
    calm = steady()
    found = surges(
        [*days, *calm[0]], [*scores, *calm[1]], ["bank"] * len(days) + ["oil"] * 40,
        window=2, reference=10, alpha=1e-3,
    )  # fmt: skip
    banks = [one for one in found if one["topic"] == "bank"]
    assert [i for i, one in enumerate(banks) if one["alarm"]] == [16]
    assert banks[15]["p"] == pytest.approx(scipy.stats.binom.sf(6, 17, 2 / 12))
    assert banks[16]["p"] == pytest.approx(scipy.stats.binom.sf(11, 22, 2 / 12))
    assert banks[16]["expected"] == 2.0
    assert not any(one["alarm"] for one in found if one["topic"] == "oil")
    few = surges(days, scores, window=2, reference=10, least=13)
    assert not any(one["alarm"] for one in few)


def test_days_as_numbers_may_be_text():
    found = surges(["3", "5"], [0.0, 1.0])
    assert [one["time"] for one in found] == [3.0, 4.0, 5.0]


def test_trend_is_the_mean_and_slope_of_the_window():
    rng = np.random.default_rng(0)
    days = np.sort(rng.integers(0, 12, 60))
    scores = rng.normal(size=60)
    scores[7] = np.nan
    found = surges(days.tolist(), scores.tolist(), window=5)
    here = (days > 11 - 5) & ~np.isnan(scores)
    last = found[-1]
    assert last["time"] == float(days.max())
    assert last["trend"] == pytest.approx(scores[here].mean())
    assert last["slope"] == pytest.approx(np.polyfit(days[here], scores[here], 1)[0])
    weekly = surges(days.tolist(), scores.tolist(), period=7)
    assert [one["time"] for one in weekly] == [float(days.min()), float(days.min()) + 7]
    assert sum(one["count"] for one in weekly) == 59


def test_empty_periods_and_edges():
    found = surges([1, 4], [0.0, -2.0])
    assert [one["count"] for one in found] == [1, 0, 0, 1]
    assert found[1]["mean"] is None
    assert found[0]["slope"] is None
    assert surges([], []) == []
    assert surges([1.0], [float("nan")]) == []
    with pytest.raises(DataError, match="MMX-531"):
        surges(["soon"], [1.0])
    with pytest.raises(DataError, match="MMX-540"):
        surges([1.0], [1.0, 2.0])
    with pytest.raises(ConfigError, match="window = 0"):
        surges([1.0], [1.0], window=0)

"""The arithmetic and the table of the benchmark of explanations."""

from __future__ import annotations

import numpy as np
import pytest
from package_files import ROOT

from mmjax.explain.explanation import Explanation


@pytest.fixture
def explain(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import explain

    return explain


def rows(own: float, random: float, count: int = 8) -> list[Explanation]:
    checks = {
        "deletion": own,
        "deletion_random": random,
        "deletion_moved": random,
        "insertion": random,
        "insertion_random": own,
        "insertion_moved": own,
        "randomised": 0.25,
    }
    return [Explanation(i, i, "m", "logit of a", 1.0, checks=checks) for i in range(count)]


def test_better_is_lower_for_deletion_and_higher_for_insertion(explain):
    found = explain.summarise(rows(0.2, 0.5))
    for curve in explain.CURVES:
        assert found[curve]["better by"] == pytest.approx(0.3)
        assert found[curve]["better than moved by"] == pytest.approx(0.3)
        np.testing.assert_allclose(found[curve]["interval"], [0.3, 0.3])
        assert found[curve]["rows better"] == 1.0
    assert found["like random weights"] == 0.25
    worse = explain.summarise(rows(0.5, 0.2))
    assert worse["deletion"]["better by"] == pytest.approx(-0.3)
    assert worse["insertion"]["rows better"] == 0.0


def test_table_of_the_results(explain):
    about = {"cores": 2, "cpu": "a cpu", "versions": {"jax": "1"}, "python": "3", "date": "today"}
    runs = {"emoji": {"occlusion": explain.summarise(rows(0.2, 0.5))}}
    text = explain.to_markdown({**about, "runs": runs})
    better = "+0.300 (+0.300 to +0.300)"
    line = f"| emoji | occlusion | 0.200 | 0.500 | {better} | {better} | 0.500 | 0.200 |"
    assert text.count(line) == 1
    assert "100% / 100% | 0.25 |" in text
    assert "8 test rows of emoji; 2 cores of a cpu" in text

"""The arithmetic and the table of the benchmark of explanations."""

from __future__ import annotations

from types import SimpleNamespace

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


def test_what_a_method_takes_is_told_with_and_without_compiling(explain, monkeypatch):
    times = iter([0.0, 4.0, 4.0, 6.0, 6.0, 6.8, 6.8, 7.2, 7.2])
    monkeypatch.setattr(explain.time, "process_time", lambda: next(times))

    class Run:
        def explain(self, **options):
            for done in range(4):
                options["told"](done + 1, 4)
            return SimpleNamespace(results=SimpleNamespace(over={"a": {}, "b": {}}))

    _, found = explain.asked(Run(), 8, "all", check=False)
    # Two batches of four rows: 4 s and then 0.8 s, 2 s and then 0.4 s.
    assert found["a"] == {"processor seconds a row": 0.6, "once compiled": 0.2}
    assert found["b"] == {"processor seconds a row": 0.3, "once compiled": 0.1}
    about = {"cores": 2, "cpu": "a cpu", "versions": {"jax": "1"}, "python": "3", "date": "today"}
    runs = {"emoji": {"occlusion": explain.summarise(rows(0.2, 0.5))}}
    text = explain.to_markdown({**about, "runs": runs, "speed": {"rows": 8, "methods": found}})
    assert "| a | 0.2000 | 0.600 |" in text
    assert "8 rows in batches of 16" in text


def test_pieces_that_carry_the_label_are_those_that_were_made(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import explain_pointing

    for carrier, field in (
        ("text", "input_ids"),
        ("image", "pixel_values"),
        ("audio", "input_features"),
    ):
        batch, place = explain_pointing.made(carrier, 40, 3)
        values = np.asarray(batch.inputs[carrier][field], np.float64)
        labels = np.asarray(batch.targets["label"])
        told = values == 2 + labels[:, None] if carrier == "text" else values.sum(axis=-1)
        found = explain_pointing.pieces(told, carrier)
        carried = labels < explain_pointing.LABELS
        assert 0 < carried.sum() < len(labels)
        assert (found.argmax(axis=1) == place)[carried].all()
    own = {"methods": {n: {"modality": 1.0, "place": 0.97} for n in explain_pointing.CLAIMS}}
    sets = {"convolutions": {name: {"right": 1.0, **own} for name in explain_pointing.CARRIERS}}
    least = explain_pointing.least_of_claims(sets)
    assert least == dict.fromkeys(explain_pointing.CLAIMS, 0.97)
    about = {"cores": 2, "cpu": "a cpu", "versions": {"jax": "1"}, "date": "today"}
    text = explain_pointing.to_markdown({**about, "rows": 40, "sets": sets, "least": least})
    assert "| convolutions | **shapley** | 100.0% | 97.0% |" in text

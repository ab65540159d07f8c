"""What a page shows of numbers that are predicted, and of rows with several labels."""

import html

import numpy as np
import pytest

from mmjax import metrics
from mmjax.core.errors import DataError
from mmjax.report import Example, ReportContents, write_report
from mmjax.report.page import render

NAMES = ("price", "size <b>")


def _numbers(**changes):
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(50, 2))
    found = truth + 0.3 * rng.normal(size=truth.shape)
    examples = [
        Example(row=3, prediction="1.5", label="9", group="Furthest off"),
        Example(row=4, prediction="2", label="2", group="Drawn at random"),
    ]
    values = {
        "title": "t",
        "results": {
            "text alone": metrics.regression(np.roll(found, 1, 0), truth, names=NAMES),
            "fused": metrics.regression(found, truth, names=NAMES),
        },
        "headline": "mae",
        "intervals": {"fused": (0.1, 0.4)},
        "baseline": 0.8,
        "baseline_name": "always the training mean",
        "numbers": {name: (truth[:, i], found[:, i]) for i, name in enumerate(NAMES)},
        "examples": examples,
    }
    return ReportContents(**{**values, **changes})


def test_numbers_have_a_table_and_a_plot_each(tmp_path):
    given = _numbers()
    text = write_report(tmp_path, given).read_text(encoding="utf-8")
    assert (tmp_path / "plots" / "predictions.png").stat().st_size > 1000
    assert text.count(">Predictions</h2>") == 1
    for name in NAMES:
        assert text.count(f'aria-label="Predicted against true {html.escape(name)}"') == 1
        assert f"{given.metrics[f'r2/{name}']:.3f}" in text
    assert "size <b>" not in text
    assert "test mean absolute error" in text
    assert "always the training mean 0.800" in text
    # On a scale from 0 to 1 an error would look like a share.
    assert 'class="strips"' not in text
    best = text[text.index("Models compared") :]
    row = best[best.index("Mean absolute error") :].partition("</tr>")[0]
    assert 'best">' in row.partition(f"{given.metrics['mae']:.3f}")[0].rpartition("<td")[2]


def test_examples_are_shown_under_their_groups():
    text = render(_numbers())
    furthest, drawn = text.index("Furthest off"), text.index("Drawn at random")
    assert furthest < drawn
    assert "<span>true</span> 9</p>" in text[furthest:drawn]
    assert "✗" not in text
    assert "Without a label" not in text


def test_one_constant_target_without_a_spread_is_drawn():
    flat = np.ones(3)
    text = render(_numbers(results={"m": {"mae": 0.0}}, numbers={"x": (flat, flat)}, intervals={}))
    assert "Predictions" in text
    empty = np.zeros(0)
    assert "Predictions" in render(_numbers(numbers={"x": (empty, empty)}))


def test_numbers_that_do_not_pair_are_refused():
    with pytest.raises(DataError, match=r"'x' has \[3\] numbers, \[2\] found"):
        _numbers(numbers={"x": (np.ones(3), np.ones(2))})


def test_labels_have_their_thresholds_and_every_true_one_is_marked():
    rng = np.random.default_rng(1)
    truth = rng.random((40, 2)) < 0.4
    scores = np.clip(0.5 * truth + 0.6 * rng.random(truth.shape), 0, 1)
    found = metrics.multi_label(scores, truth, label_names=("a", "b"))
    found |= {"threshold/a": 0.25, "threshold/b": 0.75}
    example = Example(
        row=1,
        prediction="a",
        label="a, b",
        labels=("a", "b"),
        top=[("a", 0.9), ("b", 0.2), ("c", 0.1)],
        group="Most labels wrong",
    )
    given = ReportContents(
        title="t",
        results={"m": found},
        headline="micro_f1",
        label_names=("a", "b"),
        examples=[example],
    )
    text = render(given)
    for title in ("Average precision", "AUROC", "Threshold"):
        assert f">{title}<" in text
    assert "0.750" in text
    assert f"{found['ap/a']:.3f}" in text
    assert text.count('<li class="is-label">') == 2
    assert "<span>true</span> a, b</p>" in text

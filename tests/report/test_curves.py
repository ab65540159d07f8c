import numpy as np

from mmjax.report.curves import panels, smooth


def test_records_are_sorted_into_panels():
    records = [
        {"step": 1, "train/loss": 2.0, "learning_rate": 0.1, "input_wait": 0.1},
        {"step": 2, "train/loss": float("nan"), "learning_rate": 0.2},
        {"step": 2, "validation/macro_f1": 0.3, "validation/accuracy": 0.4},
        {"step": 2, "validation/log_loss": 1.0, "validation/f1/cats": 0.2, "validation/ece": 0.1},
        {"step": 3, "train/loss": 1.0, "learning_rate": None},
    ]
    loss, validation, rate = panels(records)
    assert (loss.title, list(loss.series)) == ("Loss", ["train/loss", "validation/log_loss"])
    assert list(validation.series) == ["accuracy", "macro_f1"]
    assert list(rate.series) == ["learning_rate"]
    steps, values = loss.series["train/loss"]
    assert steps.tolist() == [1, 3]
    assert values.tolist() == [2.0, 1.0]
    assert panels([]) == []
    assert panels([{"step": 1, "validation/accuracy": None}]) == []


def test_each_objective_has_panels_of_its_own():
    records = [
        {"step": 1, "train/loss": 5.0, "train/clip/loss": 3.0, "train/itm/loss": 0.7},
        {"step": 2, "train/clip/loss": 2.0, "train/clip/logit_scale": 20.0, "train/itm/loss": 0.6},
        {
            "step": 2,
            "validation/loss": 4.0,
            "validation/clip/loss": 2.5,
            "validation/recall@1": 0.1,
        },
        {"step": 2, "validation/itm/accuracy": 0.8, "validation/lm/perplexity": 12.0},
    ]
    found = {panel.title: panel for panel in panels(records)}
    assert list(found) == [
        "Loss",
        *("Loss of clip", "Loss of itm", "Accuracy of itm", "Perplexity of lm"),
        *("Temperature of clip", "Validation"),
    ]
    assert list(found["Loss"].series) == ["train/loss", "validation/loss"]
    assert found["Loss of clip"].series["train"][1].tolist() == [3.0, 2.0]
    assert found["Loss of clip"].series["validation"][1].tolist() == [2.5]
    assert found["Temperature of clip"].series["train"][1].tolist() == [0.05]
    assert list(found["Validation"].series) == ["recall@1"]


def test_long_series_are_averaged_in_runs():
    records = [{"step": s, "train/loss": float(s % 2)} for s in range(10_000)]
    ((steps, values),) = panels(records)[0].series.values()
    assert len(steps) == 500
    assert np.all(np.diff(steps) > 0)
    np.testing.assert_allclose(values, 0.5)


def test_running_mean_against_a_loop():
    values = np.random.default_rng(0).normal(size=101)
    expected = [values[max(0, i - 2) : i + 3].mean() for i in range(101)]
    np.testing.assert_allclose(smooth(values), expected)
    assert smooth(values[:40]) is None

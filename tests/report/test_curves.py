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

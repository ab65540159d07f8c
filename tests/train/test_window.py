import json

import numpy as np
import pytest

from mmjax.core.errors import ConfigError
from mmjax.train.selection import mode_of, require_metric
from mmjax.train.window import Window

rng = np.random.default_rng(0)


def step(loss, skipped=0):
    confusion = rng.integers(0, 3, (4, 4)).astype(np.float32)
    sums = {"confusion": confusion, "loss": np.float32(loss), "weight": np.float32(8)}
    return {"loss": np.float32(loss), "skipped_in_a_row": np.int32(skipped), "sums": sums}


def test_a_window_adds_up_what_was_not_skipped():
    window, steps = Window(), [step(0.1), step(np.nan, 1), step(0.7), step(0.3)]
    for one in steps:
        window.add(one)
    assert len(window) == 4
    assert len(window.read()) == 4
    assert len(window) == 0
    assert window.losses == [float(np.float32(loss)) for loss in (0.1, 0.7, 0.3)]
    kept = [steps[i]["sums"]["confusion"].astype(np.float64) for i in (0, 2, 3)]
    assert np.array_equal(window.sums["confusion"], sum(kept))
    assert window.sums["weight"] == 24


def test_a_window_goes_on_from_its_state_with_the_same_bits():
    steps = [step(loss) for loss in rng.random(7)]
    whole, first, second = Window(), Window(), Window()
    for one in steps:
        whole.add(one)
    for one in steps[:3]:
        first.add(one)
    whole.read()
    first.read()
    second.restore(json.loads(json.dumps(first.state(), allow_nan=False)))
    for one in steps[3:]:
        second.add(one)
    second.read()
    assert second.losses == whole.losses
    for name, value in whole.sums.items():
        assert np.array_equal(second.sums[name], value)
        assert second.sums[name].shape == np.shape(steps[0]["sums"][name])


def test_which_way_is_up():
    lower = ("loss", "log_loss", "ece", "validation_loss", "rmse", "word_error", "perplexity")
    assert {mode_of(name) for name in lower} == {"min"}
    higher = ("accuracy", "macro_f1", "auroc", "recall@1", "top5_accuracy", "balanced_accuracy")
    assert {mode_of(name) for name in higher} == {"max"}


def test_a_metric_that_is_not_there_is_named_with_the_nearest():
    require_metric("accuracy", ["accuracy", "loss"])
    with pytest.raises(ConfigError, match="did you mean 'macro_f1'"):
        require_metric("macrof1", ["accuracy", "macro_f1", "f1/bird"])

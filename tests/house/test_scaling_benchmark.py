"""The formulas of the scaling study, and what its tables and those of compiled steps say."""

import pytest

from benchmarks import ahead, scaling, sharding
from benchmarks import compile as compiled
from mmjax.parallel.chips import CHIPS


class Tiny(scaling.Model):
    """A model whose state is split evenly."""

    def state(self, fsdp):
        return 12 * self.parameters // fsdp


def model(parameters=10**9, flops=1e12):
    return Tiny("two towers", "base", parameters, flops, None)


def predict(chips, rows=64.0, **settings):
    return scaling.predicted(model(**settings), CHIPS["v5p"], "v5p", chips, rows)


def test_one_chip_sends_nothing_and_only_multiplies():
    found = predict(1)
    assert found["sent"] == 0
    assert found["efficiency"] == pytest.approx(1.0, abs=1e-3)
    assert found["step"] == pytest.approx(64 * 1e12 / CHIPS["v5p"].flops / 0.6, rel=1e-3)


def test_gradients_are_an_all_reduce_of_two_bytes_a_parameter():
    found = predict(16)
    assert found["fsdp"] == 1
    gradients = 2 * 15 / 16 * 1e9 * 2
    assert found["sent"] == pytest.approx(gradients + 2 * 64 * 15 * 512 * 4)


def test_a_state_is_split_as_far_as_it_must_be():
    assert predict(1, parameters=10**11)["fits"] is False
    found = predict(64, parameters=10**11)
    assert found["fsdp"] > 1
    assert found["needed"] <= 0.92 * CHIPS["v5p"].memory


def test_strong_scaling_loses_more_than_weak():
    weak = [predict(chips)["efficiency"] for chips in scaling.CHIPS]
    strong = [predict(chips, scaling.BATCH / chips)["efficiency"] for chips in scaling.CHIPS[2:]]
    assert weak[-1] < weak[0]
    assert strong[-1] < weak[-1]
    assert predict(4096, scaling.BATCH / 4096)["lost_to"] in ("gradients", "vectors")


def test_beyond_a_slice_the_network_between_counts():
    inside = scaling.predicted(model(), CHIPS["v5e"], "v5e", 256, 64.0)
    beyond = scaling.predicted(model(), CHIPS["v5e"], "v5e", 1024, 64.0)
    assert beyond["step"] > inside["step"]


def test_what_tensor_parallelism_must_send():
    must = sharding.needed(sharding.TENSOR, {"held": 1e6})
    assert must["layers"] == pytest.approx(1.5 * 4 * 4 * 128 * (32 + 65) * 512 * 2)
    assert must["words"] == pytest.approx(1.5 * 128 * 32 * 512 * 2)
    assert must["gradients"] == 2e6


def test_what_is_sent_is_what_must_be():
    """As the TPU's compiler has it: within a tenth, or one of the variants beside it is."""
    ratios = {
        one["case"]: sum(each["bytes"] for each in one["found"]) / sum(one["needed"].values())
        for one in ahead.known(ahead.RESULTS, "sharding")
    }
    assert ratios["tensor"] < 1.1
    assert min(ratio for name, ratio in ratios.items() if name.startswith("fsdp")) < 1.1


def test_results_say_what_fits_and_what_does_not():
    measured = ahead.known(ahead.RESULTS, "compile")
    assert {one["fits"] for one in measured} == {True, False}
    bad = next(one for one in measured if not one["fits"])
    advised = [tuple(one["settings"]) for one in bad["advice"]]
    good = next(
        one
        for one in measured
        if one["fits"] and (one["config"], one["topology"]) == (bad["config"], bad["topology"])
    )
    assert tuple(good["settings"]) in advised
    told = compiled.to_markdown({"measured": measured}, "today")
    assert "**no**" in told
    assert "to fit" not in told

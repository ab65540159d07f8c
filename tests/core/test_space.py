"""Search spaces: what a grid holds, what counts when, what is refused before a search begins."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mmjax.core.errors import ConfigError
from mmjax.core.registry import Spec
from mmjax.core.space import (
    Choice,
    FloatRange,
    IntRange,
    Simplex,
    When,
    applied,
    check_space,
    choose,
    every_point,
    load_space,
    space_to_json,
)
from mmjax.models.config import ModelConfig
from mmjax.train.config import Config

CONFIG = Config(model=ModelConfig(fusion=Spec("concat", width=8)))
SPACE = {
    "optimizer.learning_rate": FloatRange(1e-4, 1e-2, log=True, points=3),
    "model.fusion": Choice("concat", "weighted_sum"),
    "model.fusion.values": When("model.fusion", "weighted_sum", Simplex("text", "image", parts=2)),
    "model.fusion.width": When("model.fusion", ["concat"], IntRange(8, 16, step=8)),
}


def test_a_grid_holds_every_point_that_counts_once():
    points = list(every_point(SPACE))
    assert len(points) == 3 * (2 + 3) == len({repr(point) for point in points})
    assert [p["optimizer.learning_rate"] for p in points[::5]] == pytest.approx([1e-4, 1e-3, 1e-2])
    assert all(
        ("model.fusion.values" in p) == (p["model.fusion"] == "weighted_sum") for p in points
    )
    config = applied(CONFIG, SPACE, points[3])
    assert config.model.fusion.options == {"width": 8, "values": {"text": 0.5, "image": 0.5}}
    assert config.optimizer.learning_rate == pytest.approx(1e-4)


@pytest.mark.parametrize(("names", "parts"), [(2, 10), (3, 4), (4, 5)])
def test_a_simplex_has_as_many_points_as_there_are_compositions(names, parts):
    points = Simplex(*"abcd"[:names], parts=parts).points()
    assert len(points) == math.comb(parts + names - 1, names - 1)
    np.testing.assert_allclose(points.sum(1), 1)
    assert len(np.unique(points.round(9), axis=0)) == len(points)
    inner = Simplex(*"abcd"[:names], parts=parts, zero=False).points()
    assert len(inner) == math.comb(parts - 1, names - 1)
    assert inner.min() > 0


def test_values_that_are_no_plain_ones_have_labels():
    domain = Choice(Spec("concat", width=4), {"text": 1}, None, True, 1)
    values = [domain.value(label) for label in domain.labels()]
    assert values[0].options == {"width": 4}
    assert values[1:] == [{"text": 1}, None, True, 1]
    assert domain.value(True) is True
    with pytest.raises(ConfigError, match="twice"):
        Choice("a", "a")


def test_choosing_asks_only_for_what_counts():
    asked = []

    def suggest(setting, domain):
        asked.append(setting)
        return domain.grid()[0]

    found = choose(SPACE, suggest)
    assert asked == list(found) == [k for k in SPACE if k != "model.fusion.values"]
    told = space_to_json(SPACE)["model.fusion.values"]
    assert told["when"] == {"model.fusion": ["weighted_sum"]}


@pytest.mark.parametrize(
    ("space", "why"),
    [
        ({}, "no setting"),
        ({"optimizer.learning_rat": FloatRange(0, 1)}, "did you mean 'learning_rate'"),
        ({"data.batch_size": FloatRange(0.5, 1)}, "wrong type"),
        ({"model.fusion": Choice("concat", "gatd")}, "did you mean 'gated'"),
        ({"seed": (1, 2)}, "is a tuple"),
        ({"seed": When("model.fusion", "gated", IntRange(0, 3))}, "not searched before"),
        (
            {"model.fusion": Choice("concat", "sum"), "seed": When("model.fusion", "gated", 1)},
            "never 'gated'",
        ),
    ],
)
def test_a_space_is_checked_before_the_search(space, why):
    with pytest.raises(ConfigError, match=why):
        check_space(CONFIG, space)


def test_ranges_are_checked():
    for wrong in (lambda: IntRange(3, 3), lambda: FloatRange(0, 1, log=True), lambda: Simplex("a")):
        with pytest.raises(ConfigError):
            wrong()
    assert IntRange(1, 100, log=True, points=3).grid() == [1, 10, 100]
    assert FloatRange(0.0, 0.3, step=0.1).grid() == pytest.approx([0, 0.1, 0.2, 0.3])


def test_the_space_lies_in_the_config_file(tmp_path):
    path = tmp_path / "config.py"
    path.write_text("def get_config(): ...\n")
    with pytest.raises(ConfigError, match="get_space"):
        load_space(path)
    path.write_text(
        "from mmjax.core.space import IntRange\n"
        "def get_space():\n    return {'seed': IntRange(0, 4)}\n"
    )
    assert load_space(path) == {"seed": IntRange(0, 4)}
    check_space(CONFIG, load_space(path))
    check_space(CONFIG, SPACE)

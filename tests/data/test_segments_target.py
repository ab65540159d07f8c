"""Segments of time as a target: what cells say, what a batch holds, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from mmjax.core.errors import ConfigError, DataError
from mmjax.data.config import targets
from mmjax.data.modalities.base import Place
from mmjax.data.table import Table
from mmjax.data.targets.base import Target, TargetProcessor


def _target(**options):
    return targets.build("segments", column="when", **options)


def _read(cell, **options):
    return _target(**options).of(cell, Place(Table({"when": [cell]}, "m", "f"), 0))


def test_lists_json_and_steps_say_the_same(tmp_path):
    wanted = [(0.0, 1.0, "run"), (1.5, 2.0, "sit")]
    mappings = [{"start": s, "end": e, "label": n} for s, e, n in reversed(wanted)]
    assert _read(mappings) == wanted
    assert _read('[[1.5, 2, "sit"], [0, 1, "run"]]') == wanted
    assert _read(["run", "run", None, "sit"], step_seconds=0.5) == wanted
    assert _read(np.array(["run", "run", "", "sit"]), step_seconds=0.5) == wanted
    assert _read([]) == []
    assert _read(None, missing="none") == []
    table = Table({"when": [mappings, [], wanted[1:]]}, "m", "f")
    target = _target(most=3)
    assert isinstance(target, Target)
    fitted = target.fit(table, np.arange(2))
    assert isinstance(fitted, TargetProcessor)
    assert fitted.facts == {"segment_names": ("run", "sit"), "segment_counts": (1, 1)}
    fitted.save(tmp_path)
    for one in (fitted, target.load(tmp_path)):
        made = [
            one.encode(cell, Place(table, row)) for row, cell in enumerate(table.columns["when"])
        ]
        batch = one.collate([*made, None])
        assert batch.dtype == np.float32
        np.testing.assert_array_equal(batch[0], [[0, 1, 0], [1.5, 2, 1], [-1, -1, -1]])
        np.testing.assert_array_equal(batch[2, 0], [1.5, 2, 1])
        assert (batch[[1, 3]] == -1).all()
    with pytest.raises(DataError, match="unknown label 'stand'"):
        fitted.encode([(0, 1, "stand")], Place(table, 0))


@pytest.mark.parametrize(
    ("cell", "what"),
    [
        (None, "no segments"),
        ("run", "is no segment"),
        ({"start": 0}, "is no segment"),
        ([("a", 1, "x")], "are no segment"),
        ([(1, 1, "x")], "are no segment"),
        ([(-1, 1, "x")], "are no segment"),
        ([(0, float("nan"), "x")], "are no segment"),
        ([(0, 1, "")], "are no segment"),
        ([(0, 2, "x"), (1, 3, "y")], "'x' ends at 2 s, and 'y' starts at 1 s"),
        ([(i, i + 1, "x") for i in range(3)], "room for 2"),
        (["x", "y"], "is no segment"),
    ],
)
def test_what_is_no_segment_is_refused(cell, what):
    with pytest.raises(DataError, match=what):
        _read(cell, most=2)


def test_overlaps_may_stay_and_settings_are_checked():
    assert len(_read([(0, 2, "x"), (1, 3, "y")], overlaps="keep")) == 2
    with pytest.raises(ConfigError, match="most = 0"):
        _target(most=0)
    with pytest.raises(ConfigError, match="step_seconds = 0"):
        _target(step_seconds=0)
    with pytest.raises(DataError, match="no segment in the training rows"):
        _target().fit(Table({"when": [[]]}, "m", "f"), np.arange(1))

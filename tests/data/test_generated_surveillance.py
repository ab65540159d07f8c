"""The generated yard: who trains, and what tells each kind of scene from a normal one."""

from __future__ import annotations

import numpy as np
import pytest

from mmjax.core.errors import ConfigError
from mmjax.data.sources.generated_surveillance import KINDS, NORMAL, GeneratedSurveillance


@pytest.fixture(scope="module")
def columns():
    return GeneratedSurveillance(rows=240, noise=0.0).read().columns


def _of(columns, kind):
    return [i for i, one in enumerate(columns["kind"]) if one == kind]


def test_only_normal_scenes_train(columns):
    kinds = {split: set() for split in ("train", "validation", "test")}
    for split, kind in zip(columns["split"], columns["kind"], strict=True):
        kinds[split].add(kind)
    assert kinds["train"] == {NORMAL}
    assert kinds["test"] == kinds["validation"] == {NORMAL, *KINDS}
    assert columns["split"].count("train") == 160
    rows = range(160 + 30, 240)
    assert sum(columns["kind"][row] != NORMAL for row in rows) == len(rows) // 2


def test_rows_have_the_shapes_they_should(columns):
    assert {clip.shape for clip in columns["clip"]} == {(8, 16, 16, 1)}
    sounds = [one for one in columns["sound"] if one is not None]
    assert 0 < len(columns["sound"]) - len(sounds) < 40
    assert {one.shape for one in sounds} == {(4000,)}
    assert max(np.abs(one).max() for one in sounds) <= 1


def test_kinds_are_what_they_are_called(columns):
    def motion(row):
        return np.abs(np.diff(columns["clip"][row].astype(float), axis=0)).mean()

    def loudest(row):
        sound = columns["sound"][row]
        return 0 if sound is None else np.abs(sound).max()

    normal = _of(columns, NORMAL)
    assert not any(motion(row) for row in _of(columns, "fallen"))
    assert np.median([motion(row) for row in normal]) > 1
    usual = max(loudest(row) for row in normal)
    assert all(loudest(row) > usual for row in _of(columns, "bang"))
    assert all(columns["sound"][row] is not None for row in _of(columns, "unseen"))


def test_a_row_depends_on_seed_and_number_alone(columns):
    again = GeneratedSurveillance(rows=48, noise=0.0).read()
    np.testing.assert_array_equal(again.columns["clip"][7], columns["clip"][7])
    other = GeneratedSurveillance(rows=48, noise=0.02, seed=1).read()
    assert other.fingerprint != again.fingerprint
    with pytest.raises(ConfigError, match="rows = 3"):
        GeneratedSurveillance(rows=3)

"""How often classes train, and few rows of each."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest

from mmjax.core import config as config_lib
from mmjax.core.errors import ConfigError
from mmjax.core.registry import Spec
from mmjax.data.config import DataConfig, FewShot, Sampling, SplitConfig
from mmjax.data.pipeline import prepare
from mmjax.data.sampling import Balanced

COUNTS = {"cat": 70, "dog": 20, "emu": 10}
ROWS = np.arange(1000, 1100)
CLASSES = np.repeat([5, 7, 9], list(COUNTS.values()))


def _taken(power, epochs=4, **options):
    order = Balanced(ROWS, CLASSES, 10, options.get("seed", 0), power=power)
    return np.concatenate([order[step] for step in range(10 * epochs)])


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_each_class_has_its_share_of_every_epoch(power):
    found = _taken(power).reshape(4, 100)
    wanted = np.array(list(COUNTS.values())) ** power
    wanted = 100 * wanted / wanted.sum()
    for epoch in found:
        seen = np.bincount(CLASSES[epoch - 1000], minlength=10)[[5, 7, 9]]
        assert np.abs(seen - wanted).max() < 3
    # No row of a class comes again before all others of it.
    for one in (5, 7, 9):
        mine = ROWS[one == CLASSES]
        turns = found.ravel()[CLASSES[found.ravel() - 1000] == one]
        seen = Counter(turns.tolist())
        assert max(seen[row] for row in mine) - min(seen[row] for row in mine) <= 2
    if power == 1.0:
        assert (np.sort(found, axis=1) == ROWS).all()


def test_batches_are_mixed_and_depend_on_the_seed_alone():
    found = CLASSES[_taken(0.0) - 1000].reshape(40, 10)
    counts = {tuple(np.bincount(batch, minlength=10)[[5, 7, 9]]) for batch in found}
    assert len(counts) > 5
    assert np.array_equal(_taken(0.0), _taken(0.0))
    assert not np.array_equal(_taken(0.0), _taken(0.0, seed=1))


@pytest.mark.parametrize("power", [-0.1, 1.5, float("nan")])
def test_powers_that_are_none_are_refused(power):
    with pytest.raises(ConfigError, match=r"data\.sampling\.power"):
        _taken(power)


FRAME = {
    "words": [f"w{i}" for i in range(120)],
    "label": [*np.repeat(list(COUNTS), list(COUNTS.values())).tolist(), *["cat", "emu"] * 10],
    "other": [i % 2 for i in range(120)],
    "split": ["train"] * 100 + ["test"] * 20,
}
CONFIG = DataConfig(
    source=Spec("frame"),
    modalities={"text": Spec("text", column="words", max_length=4)},
    targets={"label": Spec("category", column="label")},
    split=SplitConfig(column="split", names={"train": ("train",), "test": ("test",)}),
    batch_size=12,
    threads=0,
)


@pytest.fixture(scope="module")
def data():
    return prepare(dataclasses.replace(CONFIG, sampling=Sampling()), frame=FRAME)


def _rows(data, count, **options):
    with data.loader("train", train=True, seed=3, **options) as loader:
        return [next(loader).row for _ in range(count)]


def test_batches_are_the_same_for_any_number_of_processes_and_from_any_step(data):
    whole = _rows(data, 9)
    labels = Counter(FRAME["label"][row] for row in np.concatenate(whole))
    assert max(labels.values()) - min(labels.values()) <= 3
    parts = [_rows(data, 9, process_index=i, process_count=3) for i in range(3)]
    for step in range(9):
        np.testing.assert_array_equal(np.concatenate([one[step] for one in parts]), whole[step])
    np.testing.assert_array_equal(_rows(data, 4, start=5), whole[5:])
    with data.loader("test", train=False) as loader:
        rows = np.concatenate([batch.row[batch.row_mask] for batch in loader])
    np.testing.assert_array_equal(rows, np.arange(100, 120))
    plain = prepare(CONFIG, frame=FRAME)
    assert plain.fingerprint != data.fingerprint


def test_few_rows_of_each_class_train_and_the_others_stay_as_they_are(tmp_path, caplog):
    def few(**options):
        return dataclasses.replace(CONFIG, few_shot=FewShot(**options))

    data = prepare(few(rows=4), frame=FRAME)
    rows = data.rows("train")
    assert Counter(FRAME["label"][row] for row in rows) == dict.fromkeys(COUNTS, 4)
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(data.rows("test"), np.arange(100, 120))
    assert data.facts["targets"]["label"]["label_counts"] == (4, 4, 4)
    np.testing.assert_array_equal(prepare(few(rows=4), frame=FRAME).rows("train"), rows)
    assert set(rows) < set(prepare(few(rows=9), frame=FRAME).rows("train"))
    assert set(rows) != set(prepare(few(rows=4, seed=1), frame=FRAME).rows("train"))
    more = prepare(few(rows=15), frame=FRAME).rows("train")
    assert len(more) == 15 + 15 + 10
    assert "has 10 training rows of 15" in caplog.text
    assert len(prepare(few(rows=4, column="other"), frame=FRAME).rows("train")) == 8
    data.save(tmp_path)
    again = prepare(few(rows=4), frame=FRAME, processors_folder=tmp_path)
    np.testing.assert_array_equal(again.rows("train"), rows)
    with pytest.raises(ConfigError, match=r"few_shot\.rows = 0"):
        prepare(few(rows=0), frame=FRAME)


@pytest.mark.parametrize("setting", ["sampling", "few_shot"])
def test_without_classes_it_is_refused_and_unsaid(setting):
    changed = config_lib.override(CONFIG, [f"{setting}.column=x"])
    assert getattr(changed, setting).column == "x"
    given = {"sampling": Sampling(), "few_shot": FewShot()}[setting]
    numbers = {"label": Spec("number", column="other")}
    bare = dataclasses.replace(CONFIG, targets=numbers, **{setting: given})
    with pytest.raises(ConfigError, match="no one target is a class"):
        _rows(prepare(bare, frame=FRAME), 1)
    stored = config_lib.to_json(CONFIG)
    assert setting not in stored
    again = config_lib.from_json(DataConfig, config_lib.to_json(changed))
    assert getattr(again, setting) == getattr(changed, setting)
